package pipeline_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline/task"
)

func TestFiveRunsKeepThreePointsThatReadAsTheSnapshotsDid(t *testing.T) {
	w := newWorld(t, "r")
	for i := range 5 {
		w.write(0, int64(i)*3*mib, 2*mib+512, byte(10*i))
		if i%2 == 0 {
			w.write(1, 8*mib, mib+512, byte(10*i+1)) // up to the last, odd sector
		}
		run := w.mustRun()
		exports := find(run, "export")
		require.Len(t, exports, 1)
		require.Equal(t, i == 0, exports[0].Data("isFull"))
		require.Equal(t, "r", exports[0].Data("id"))
		require.Len(t, w.pool.Snapshots(), 1, "only the base stays")
		w.checkPoints("r", min(i+1, 3))
	}
	points := w.points("r")
	require.False(t, isDelta(points[0]), "the oldest took in those before it")
	require.True(t, isDelta(points[1]))
	require.True(t, isDelta(points[2]))
	require.Equal(t, "4", w.tags(w.pool.Snapshots()[0])["xo:backup:deltaChainLength"])
}

func TestRunHasTheTreeOfXO(t *testing.T) {
	w := newWorld(t, "r")
	run := w.mustRun()
	var names []string
	var walk func(r *task.Record, prefix string)
	walk = func(r *task.Record, prefix string) {
		names = append(names, prefix+r.Message)
		for _, c := range r.Tasks {
			walk(c, prefix+r.Message+" > ")
		}
	}
	walk(run.Record(), "")
	require.Equal(t, []string{
		"backup",
		"backup > backup VM",
		"backup > backup VM > clean-vm",
		"backup > backup VM > snapshot",
		"backup > backup VM > export",
		"backup > backup VM > export > transfer",
		"backup > backup VM > export > clean-vm",
	}, names)
	vm := run.Record().Tasks[0]
	require.Equal(t, map[string]any{"type": "VM", "id": w.vm().UUID, "name_label": "web"}, vm.Data)
	require.Equal(t, w.pool.Snapshots()[0].UUID, vm.Tasks[1].Result)
	require.Equal(t, map[string]any{"size": w.points("r")[0].Metadata.Size}, vm.Tasks[2].Tasks[0].Result)
}
