package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// benchDisk is the size of the one disk, all of it data that does not compress.
const benchDisk = 256 * mib

// bench is a pool with one VM and an empty folder.
type bench struct {
	pool       *xapitest.Pool
	runner     *pipeline.Runner
	repository *catalog.Catalog
	job        *pipeline.Job
}

func newBench(b *testing.B) *bench {
	b.Helper()
	pool := xapitest.NewPool(b, xapitest.Inventory{
		SRs: []xapitest.SR{{Name: "local"}},
		VMs: []xapitest.VM{{Name: "vm", PowerState: "Running", Disks: []xapitest.Disk{{Name: "disk", Size: benchDisk}}}},
	})
	fill(b, pool.VM("vm").Disks[0].Path)
	folder, err := local.Open(b.TempDir(), nil)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, folder.Close()) })
	repository, err := catalog.Open(b.Context(), folder, nil)
	require.NoError(b, err)
	runner, err := pipeline.NewRunner(&pipeline.RunnerOptions{
		Pools:   map[string]pipeline.Pool{"pool": pool.Client(b)},
		Remotes: func(context.Context, string) (*catalog.Catalog, error) { return repository, nil },
	})
	require.NoError(b, err)
	return &bench{pool: pool, runner: runner, repository: repository, job: &pipeline.Job{
		ID: "33333333-0000-4000-8000-000000000001", Name: "bench", Type: pipeline.TypeBackup, Mode: pipeline.ModeDelta,
		VMs: pipeline.IDs(pool.VM("vm").UUID), Remotes: pipeline.IDs("folder"),
		Settings: map[string]json.RawMessage{"": json.RawMessage(`{"exportRetention":1}`)},
	}}
}

func fill(b *testing.B, path string) {
	b.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(b, err)
	random := rand.NewChaCha8([32]byte{})
	chunk := make([]byte, mib)
	for off := int64(0); off < benchDisk; off += mib {
		_, _ = random.Read(chunk)
		_, err := f.WriteAt(chunk, off)
		require.NoError(b, err)
	}
	require.NoError(b, f.Close())
}

func (w *bench) backUp(b *testing.B) {
	b.Helper()
	_, err := w.runner.Run(b.Context(), w.job, &pipeline.RunOptions{ScheduleID: schedule, ForceFull: true})
	require.NoError(b, err)
}

// A whole run: snapshot, export, synced file, commit, expiry of the run before.
func BenchmarkExportToRepository(b *testing.B) {
	w := newBench(b)
	b.SetBytes(benchDisk)
	b.ReportAllocs()
	for b.Loop() {
		w.backUp(b)
	}
}

// A whole restore: new VM, import of its disk. The VM stays, as files of the pool.
func BenchmarkRestore(b *testing.B) {
	w := newBench(b)
	w.backUp(b)
	var point *catalog.Point
	for p, err := range w.repository.Points(b.Context(), w.pool.VM("vm").UUID) {
		require.NoError(b, err)
		point = p
	}
	client := w.pool.Client(b)
	b.SetBytes(benchDisk)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		_, err := restore.VM(b.Context(), client, w.repository, point, &restore.Options{Name: fmt.Sprint("restored ", n)})
		require.NoError(b, err)
	}
}

// What the two above are measured against: the same bytes, copied and synced.
func BenchmarkCopyAndSync(b *testing.B) {
	w := newBench(b)
	source := w.pool.VM("vm").Disks[0].Path
	b.SetBytes(benchDisk)
	for b.Loop() {
		in, err := os.Open(source)
		require.NoError(b, err)
		out, err := os.CreateTemp(b.TempDir(), "")
		require.NoError(b, err)
		_, err = out.ReadFrom(in)
		require.NoError(b, err)
		require.NoError(b, out.Sync())
		require.NoError(b, out.Close())
		require.NoError(b, in.Close())
		require.NoError(b, os.Remove(out.Name()))
	}
}
