package vhd_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// diskChain is a chain of three images in files, of which two have blocks with
// gaps, in units of some bytes, and what it must read as.
func diskChain(t *testing.T, dir string, unit int64) (*vhd.Chain, ramDisk) {
	t.Helper()
	const size = 9<<20 + 3*sector
	truth := noise(1, size, 0, 2, 4)
	writeFile(t, filepath.Join(dir, "a.vhd"), truth, layoutOf(t, truth, vhd.Repository))
	for k, name := range []string{"b.vhd", "c.vhd"} {
		f, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		parent := uuidOf(0x41)
		if k > 0 {
			parent = uuidOf(byte(k))
		}
		l := vhd.Layout{
			Type: vhd.Differencing, Size: size, UUID: uuidOf(byte(k + 1)), ParentUUID: parent, ParentName: string(rune('a'+k)) + ".vhd",
		}
		w, err := vhd.Create(f, l)
		require.NoError(t, err)
		for i, at := range []int64{3 * unit, 2<<20 + 5*unit, 4<<20 - unit, 9<<20 - 2*unit} {
			data := bytes.Repeat([]byte{byte(10*k + i + 2)}, int(3*unit))
			at += int64(k) * unit
			n := min(len(data), int(size-at))
			_, err := w.WriteAt(data[:n], at)
			require.NoError(t, err)
			copy(truth[at:], data[:n])
		}
		require.NoError(t, w.Close())
		require.NoError(t, f.Close())
	}
	return openChain(t, openRoot(t, dir), "c.vhd"), truth
}

func createFile(tb testing.TB, name string) *os.File {
	tb.Helper()
	f, err := os.Create(name)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = f.Close() })
	return f
}

// TestChainsFlattenToWhatEverybodyReads looks at the results with qemu-img.
func TestChainsFlattenToWhatEverybodyReads(t *testing.T) {
	qemu := testenv.Require(t, "qemu-img")
	dir := t.TempDir()
	chain, truth := diskChain(t, dir, sector)
	require.Equal(t, sum(truth), digest(t, chain))

	raw := filepath.Join(dir, "out.raw")
	result, err := vhd.FlattenRaw(t.Context(), createFile(t, raw), chain, nil)
	require.NoError(t, err)
	require.EqualValues(t, len(truth), result.Size)
	got, err := os.ReadFile(raw)
	require.NoError(t, err)
	require.True(t, bytes.Equal(truth, got))

	for _, l := range []vhd.Layout{
		{Type: vhd.Dynamic, UUID: uuidOf(7)},
		{Type: vhd.Dynamic, UUID: uuidOf(7), Profile: vhd.Host},
		{Type: vhd.Dynamic, UUID: uuidOf(7), BlockSize: 512 << 10},
		{Type: vhd.Fixed, UUID: uuidOf(7)},
	} {
		name := filepath.Join(dir, "out.vhd")
		last := int64(0)
		opts := &vhd.CopyOptions{Progress: func(done, total int64) {
			require.GreaterOrEqual(t, done, last)
			require.EqualValues(t, len(truth), total)
			last = done
		}}
		result, err := vhd.Flatten(t.Context(), createFile(t, name), chain, l, opts)
		require.NoError(t, err)
		require.EqualValues(t, len(truth), last)
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, info.Size(), result.Size)
		out, err := exec.CommandContext(t.Context(), qemu, "compare", "-f", "raw", "-F", "vpc", raw, name).CombinedOutput()
		require.NoError(t, err, "%v, blocks of %d: %s", l.Type, l.BlockSize, out)
		require.NotContains(t, string(out), "Warning") // that the sizes differ
		out, err = exec.CommandContext(t.Context(), testenv.Require(t, "vhdiinfo"), name).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

func TestFlattenWritesWhatAStreamWouldBe(t *testing.T) {
	d := noise(1, oddSize, 0, 2)
	dir := t.TempDir()
	raw := filepath.Join(dir, "disk.raw")
	require.NoError(t, os.WriteFile(raw, d, 0o600))
	f, err := os.Open(raw)
	require.NoError(t, err)
	defer f.Close()
	for _, profile := range []vhd.Profile{vhd.Repository, vhd.Host} {
		l := layoutOf(t, d, profile)
		var want bytes.Buffer
		writeStream(t, &want, d, l)
		blocks := l.Blocks
		l.Blocks, l.Size = nil, 0
		for name, src := range map[string]disk.Source{"file": vhd.NewRaw(f, d.Size()), "memory": vhd.NewRaw(bytes.NewReader(d), d.Size()), "other": d} {
			out := filepath.Join(dir, "out.vhd")
			result, err := vhd.Flatten(t.Context(), createFile(t, out), src, l, nil)
			require.NoError(t, err, name)
			require.Equal(t, blocks, result.Blocks)
			got, err := os.ReadFile(out)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want.Bytes(), got), name)
		}
	}
}

// brokenDisk fails to read from an offset on.
type brokenDisk struct {
	ramDisk
	from int64
}

var errBroken = errors.New("broken disk")

func (d brokenDisk) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > d.from {
		return 0, errBroken
	}
	return d.ramDisk.ReadAt(p, off)
}

func TestFlattenEndsWithTheFirstError(t *testing.T) {
	d := brokenDisk{noise(1, 20<<20, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), 9 << 20}
	f := &memFile{}
	_, err := vhd.Flatten(t.Context(), f, d, vhd.Layout{Type: vhd.Dynamic, UUID: uuidOf(1)}, nil)
	require.ErrorIs(t, err, errBroken)
	_, err = vhd.Open(f, int64(len(f.data)), &vhd.OpenOptions{Mode: vhd.Recover})
	require.Error(t, err, "what was not finished must not look like an image")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	_, err = vhd.FlattenRaw(ctx, f, d.ramDisk, nil)
	require.ErrorIs(t, err, errBroken)
	_, err = vhd.Flatten(t.Context(), &memFile{}, d.ramDisk, vhd.Layout{Type: vhd.Dynamic, Size: 1 << 20, UUID: uuidOf(1)}, nil)
	require.ErrorIs(t, err, vhd.ErrUnsupported)
	short := vhd.NewRaw(bytes.NewReader(d.ramDisk[:5<<20]), 20<<20)
	_, err = vhd.FlattenRaw(t.Context(), &memFile{}, short, nil)
	require.ErrorIs(t, err, vhd.ErrTruncated)
}

// TestExportsAreSentByTheKernelByteForByte compares what arrives at the other
// end of a TCP connection with what reading the Export gives.
func TestExportsAreSentByTheKernelByteForByte(t *testing.T) {
	dir := t.TempDir()
	chain, truth := diskChain(t, dir, sector)
	raw := filepath.Join(dir, "disk.raw")
	require.NoError(t, os.WriteFile(raw, truth, 0o600))
	f, err := os.Open(raw)
	require.NoError(t, err)
	defer f.Close()
	for name, src := range map[string]disk.Source{"chain": chain, "raw": vhd.NewRaw(f, truth.Size()), "memory": truth} {
		l := layoutOf(t, truth, vhd.Host)
		export, err := vhd.NewExport(t.Context(), src, l)
		require.NoError(t, err)
		want, err := io.ReadAll(export)
		require.NoError(t, err)
		export, err = vhd.NewExport(t.Context(), src, l)
		require.NoError(t, err)
		_, err = io.CopyN(io.Discard, export, 700) // what was read before is not written again
		require.NoError(t, err)
		require.True(t, bytes.Equal(want[700:], overTCP(t, export)), name)
		again, err := vhd.NewExport(t.Context(), src, l)
		require.NoError(t, err)
		var buf bytes.Buffer
		n, err := io.Copy(&buf, again)
		require.NoError(t, err)
		require.Equal(t, again.Size(), n)
		require.True(t, bytes.Equal(want, buf.Bytes()), name)
	}
}

func overTCP(t *testing.T, src io.WriterTo) []byte {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	sent := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, err = src.WriteTo(conn)
			err = errors.Join(err, conn.Close())
		}
		sent <- err
	}()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	return got
}
