package pipeline_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/xapi"
)

// chained is a pool whose live disks have a chain of hidden VDIs behind them, as
// storage drivers for VHDs show it.
type chained struct {
	*xapi.Client
	live   map[xapi.Ref[xapi.VDI]]bool
	hidden int
}

func (p *chained) Call(ctx context.Context, method string, result any, args ...any) error {
	if all, ok := result.(*map[xapi.Ref[xapi.VDI]]*xapi.VDI); ok && method == "VDI.get_all_records_where" {
		*all = map[xapi.Ref[xapi.VDI]]*xapi.VDI{"live": {UUID: "live", Managed: true, SMConfig: map[string]string{"vhd-parent": "hidden 0"}}}
		for i := range p.hidden {
			(*all)[xapi.Ref[xapi.VDI](fmt.Sprint(i))] = &xapi.VDI{
				UUID: fmt.Sprint("hidden ", i), SMConfig: map[string]string{"vhd-parent": fmt.Sprint("hidden ", i+1)},
			}
		}
		return nil
	}
	err := p.Client.Call(ctx, method, result, args...)
	if vdi, ok := result.(*xapi.VDI); ok && err == nil && p.live[args[0].(xapi.Ref[xapi.VDI])] {
		vdi.SMConfig = map[string]string{"vhd-parent": "hidden 0"}
	}
	return err
}

func TestChainThatIsNotCoalescedSkipsTheVM(t *testing.T) {
	w := newWorld(t, "r")
	pool := &chained{Client: w.client, live: map[xapi.Ref[xapi.VDI]]bool{}}
	for _, d := range w.vm().Disks {
		pool.live[xapi.Ref[xapi.VDI](d.Ref)] = true
	}
	w.opts.Pools = map[string]pipeline.Pool{"lab": pool}

	pool.hidden = 3 // the oldest and the middle one have one hidden child each
	run, err := w.run()
	require.EqualError(t, err, task.ReasonUnhealthyChain)
	require.Equal(t, task.Skipped, run.Status())
	require.Empty(t, w.pool.Snapshots())
	w.checkClean()

	w.set(`{"exportRetention":3,"bypassVdiChainsCheck":true}`)
	w.mustRun()
	w.set(`{"exportRetention":3}`)
	pool.hidden = 2
	w.mustRun()
}
