package pipeline_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
)

// goldenPoint is a delta that Xen Orchestra wrote.
const goldenPoint = "xo-vm-backups/000000a0-0000-4000-8000-000000000002/20260110T040000Z.json"

// Every field that XO's metadata has is in ours, at the top and in the records.
func TestMetadataHasTheFieldsOfXO(t *testing.T) {
	w := newWorld(t, "r")
	w.mustRun()
	w.write(0, 0, mib, 3)
	w.write(1, 0, mib, 4)
	w.mustRun()
	want := readObject(t, filepath.Join(testenv.Golden(t).Dir, goldenPoint))
	got := readObject(t, filepath.Join(w.dirs["r"], w.points("r")[1].ID))
	requireKeys(t, "metadata", want, got)
	for _, name := range []string{"vm", "vmSnapshot"} {
		requireKeys(t, name, object(t, want[name]), object(t, got[name]))
	}
	for _, name := range []string{"vdis", "vbds", "vifs"} {
		requireKeys(t, name, first(t, want[name]), first(t, got[name]))
	}
	requireKeys(t, "other_config of a disk", object(t, first(t, want["vdis"])["other_config"]), object(t, first(t, got["vdis"])["other_config"]))

	require.Equal(t, "OpaqueRef:NULL", object(t, got["vmSnapshot"])["suspend_VDI"])
	require.Equal(t, []any{}, got["vtpms"])
	require.Equal(t, []any{}, got["tags"])
	require.Equal(t, schedule, got["scheduleId"])
	require.Len(t, got["vdis"], 2)
	for ref, raw := range object(t, got["vdis"]) {
		vdi := object(t, raw)
		source, _ := vdi["$snapshot_of$uuid"].(string)
		require.Contains(t, object(t, got["vhds"])[ref], "vdis/"+w.job.ID+"/"+source+"/")
		require.Equal(t, w.pool.SR("local").UUID, vdi["$SR$uuid"])
		config := object(t, vdi["other_config"])
		require.Equal(t, vdi["uuid"], config["xo:backup:contentKey"])
		require.NotEqual(t, vdi["uuid"], config["xo:base_delta_vdi"])
	}
	for _, raw := range object(t, got["vbds"]) {
		require.Contains(t, got["vdis"], object(t, raw)["VDI"], "a VBD points at a disk of the backup")
	}
}

func readObject(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(text, &m))
	return m
}

func object(t *testing.T, v any) map[string]any {
	t.Helper()
	m, ok := v.(map[string]any)
	require.True(t, ok, "%v", v)
	return m
}

// first returns the record with the lowest key.
func first(t *testing.T, v any) map[string]any {
	t.Helper()
	m := object(t, v)
	require.NotEmpty(t, m)
	return object(t, m[slices.Sorted(maps.Keys(m))[0]])
}

func requireKeys(t *testing.T, what string, want, got map[string]any) {
	t.Helper()
	var missing []string
	for key := range want {
		if _, ok := got[key]; !ok {
			missing = append(missing, key)
		}
	}
	slices.Sort(missing)
	require.Empty(t, missing, "%s lacks %s", what, strings.Join(missing, ", "))
}
