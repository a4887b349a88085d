package catalog_test

import (
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// benchBlocks is a disk of 512 MiB.
const benchBlocks = 256

// Verification of data beside SHA-256 of the same file, read in the same run:
// "x-sha256" is how many times as fast it is as one goroutine that reads and hashes.
func BenchmarkVerifyData(b *testing.B) {
	ctx := context.Background()
	dir := b.TempDir()
	fsys, err := local.Open(dir, nil)
	require.NoError(b, err)
	defer fsys.Close()
	c, err := catalog.Open(ctx, fsys, nil)
	require.NoError(b, err)
	writeBenchPoint(ctx, b, c)
	file := filepath.Join(dir, filepath.FromSlash(testVMDir), "vdis", testJob, sourceVDI(0), "20260301T010000Z.vhd")
	info, err := os.Stat(file)
	require.NoError(b, err)
	b.SetBytes(info.Size())
	hashFile(b, file) // both find it in the cache

	var hashing, verifying time.Duration
	for b.Loop() {
		start := time.Now()
		hashFile(b, file)
		hashing += time.Since(start)
		start = time.Now()
		for v, err := range c.Verify(ctx, &catalog.VerifyOptions{Level: catalog.VerifyData}) {
			require.NoError(b, err)
			require.Equal(b, catalog.Valid, v.Verdict)
			require.Equal(b, catalog.EvidenceComplete, v.Evidence)
		}
		verifying += time.Since(start)
	}
	b.ReportMetric(hashing.Seconds()/verifying.Seconds(), "x-sha256")
	b.ReportMetric(float64(info.Size())*float64(b.N)/verifying.Seconds()/1e6, "verify-MB/s")
}

func hashFile(b *testing.B, name string) {
	b.Helper()
	f, err := os.Open(name)
	require.NoError(b, err)
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{sha256.New()}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	require.NoError(b, err)
}

func writeBenchPoint(ctx context.Context, b *testing.B, c *catalog.Catalog) {
	b.Helper()
	s, err := c.LockVM(ctx, testVM)
	require.NoError(b, err)
	defer s.Close(ctx)
	w, err := s.NewPoint(ctx, catalog.PointSpec{JobID: testJob, ScheduleID: testSchedule, Time: dateOf(1)})
	require.NoError(b, err)
	m := newMachine()
	m.now = 1
	meta := m.metadata()
	delete(meta.VDIs, diskRef(1, 1))
	spec := catalog.DiskSpec{Ref: diskRef(0, 1), SourceVDI: sourceVDI(0), SnapshotVDI: snapshotVDI(0, 1), Size: benchBlocks * disk.BlockSize}
	for i := range uint32(benchBlocks) {
		spec.Blocks = append(spec.Blocks, i)
	}
	d, err := w.CreateDisk(ctx, spec)
	require.NoError(b, err)
	block := make([]byte, disk.BlockSize)
	noise := rand.NewChaCha8([32]byte{1})
	for _, i := range spec.Blocks {
		_, _ = noise.Read(block)
		require.NoError(b, d.WriteBlock(i, block))
	}
	require.NoError(b, d.Close())
	_, err = w.Commit(ctx, meta)
	require.NoError(b, err)
}
