package xva_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xva"
)

func TestWriterInsistsOnTheOrderThatImportersWant(t *testing.T) {
	t.Parallel()
	disks := map[string]memory{"Ref:1a": noise(3<<20+7, 1), "Ref:2a": noise(10, 2)}
	whole, last := make([]byte, 1<<20), make([]byte, 7)
	var out bytes.Buffer
	w, err := xva.NewWriter(&out, machine(disks), nil)
	require.NoError(t, err)
	begun := out.Len()
	refused := func(want error, id string, off int64, data []byte) {
		t.Helper()
		before := out.Len()
		err := w.WriteChunk(id, off, data)
		require.Error(t, err)
		if want != nil {
			require.ErrorIs(t, err, want)
		}
		require.Equal(t, before, out.Len())
	}
	refused(xva.ErrOrder, "Ref:2a", 0, last)
	refused(xva.ErrOrder, "Ref:3", 0, last)
	refused(xva.ErrIncomplete, "Ref:1a", 1<<20, whole)
	refused(nil, "Ref:1a", 0, last)
	refused(xva.ErrOrder, "Ref:1a", 4<<20, whole)
	refused(xva.ErrOrder, "Ref:1a", -1<<20, whole)
	require.ErrorIs(t, w.Close(), xva.ErrIncomplete)
	require.Equal(t, begun, out.Len())
	require.NoError(t, w.WriteChunk("Ref:1a", 0, whole))
	refused(xva.ErrOrder, "Ref:1a", 0, whole)
	refused(nil, "Ref:1a", 1<<19, whole)
	refused(xva.ErrIncomplete, "Ref:2a", 0, make([]byte, 10))
	require.NoError(t, w.WriteChunk("Ref:1a", 2<<20, whole)) // 1 MiB left out
	require.ErrorIs(t, w.Close(), xva.ErrIncomplete)
	refused(nil, "Ref:1a", 3<<20, whole)
	require.NoError(t, w.WriteChunk("Ref:1a", 3<<20, last))
	require.ErrorIs(t, w.Close(), xva.ErrIncomplete)
	require.NoError(t, w.WriteDisk(t.Context(), "Ref:2a", disks["Ref:2a"]))
	require.NoError(t, w.Close())
	require.EqualValues(t, out.Len(), w.Size())
	refused(nil, "Ref:2a", 0, make([]byte, 10))
	_, _, err = read(&out, nil)
	require.NoError(t, err)
}

func TestWriterRefusesGapsBehindASmallFirstDisk(t *testing.T) {
	t.Parallel()
	w, err := xva.NewWriter(io.Discard, machine(map[string]memory{"Ref:1a": make(memory, 10), "Ref:2a": make(memory, 3<<20)}), nil)
	require.NoError(t, err)
	require.NoError(t, w.WriteChunk("Ref:1a", 0, make([]byte, 10)))
	require.NoError(t, w.WriteChunk("Ref:2a", 0, make([]byte, 1<<20)))
	require.ErrorIs(t, w.WriteChunk("Ref:2a", 2<<20, make([]byte, 1<<20)), xva.ErrIncomplete)
}

func TestWriterRefusesDescriptionsThatNoPoolImports(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*xva.OVA){
		"no size":       func(o *xva.OVA) { delete(o.Object("Ref:9").Snapshot, "virtual_size") },
		"negative size": func(o *xva.OVA) { o.Object("Ref:9").Snapshot["virtual_size"] = "-1" },
		"empty disk":    func(o *xva.OVA) { o.Object("Ref:9").Snapshot["virtual_size"] = 0 },
		"other size":    func(o *xva.OVA) { o.Object("Ref:9").Snapshot["virtual_size"] = 11 },
		"old version":   func(o *xva.OVA) { o.Version.ExportVSN = 1 },
		"no such value": func(o *xva.OVA) { o.Objects[0].Snapshot["x"] = struct{}{} },
		"too large":     func(o *xva.OVA) { o.Objects[0].Snapshot["x"] = strings.Repeat("x", xva.MaxOVA) },
		"missing source": func(o *xva.OVA) {
			o.Objects = append(o.Objects, xva.Object{Class: "VDI", ID: "Ref:99", Snapshot: map[string]any{"type": "suspend", "virtual_size": "10"}})
		},
		"path as id": func(o *xva.OVA) { o.Object("Ref:9").ID = "../x"; o.Object("VBDRef:9").Snapshot["VDI"] = "../x" },
	} {
		disks := map[string]memory{"Ref:9": noise(10, 1)}
		ova := machine(disks)
		change(ova)
		_, err := xva.Size(t.Context(), ova, sources(disks), nil)
		require.Error(t, err, name)
		require.Error(t, xva.Write(t.Context(), io.Discard, ova, sources(disks), nil), name)
	}
}

func TestEveryFailedWriteIsReported(t *testing.T) {
	t.Parallel()
	disks := map[string]memory{"Ref:1a": noise(700, 1), "Ref:2a": noise(10, 2)}
	full := errors.New("no space left")
	size := len(write(t, disks, nil))
	for n := 0; n < size; n += 97 { // most writes are of 512 bytes
		err := xva.Write(t.Context(), &limited{left: n, err: full}, machine(disks), sources(disks), nil)
		require.ErrorIs(t, err, full, "at %d", n)
	}
	require.NoError(t, xva.Write(t.Context(), &limited{left: size, err: full}, machine(disks), sources(disks), nil))
}

// limited takes so many bytes.
type limited struct {
	left int
	err  error
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return l.left, l.err
	}
	l.left -= len(p)
	return len(p), nil
}

func TestErrorsOfASourceAreReturned(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	disks := map[string]memory{"Ref:1a": noise(3<<20, 1)}
	for _, bad := range []*faulty{{memory: disks["Ref:1a"], read: lost}, {memory: disks["Ref:1a"], extents: lost}} {
		all := map[string]disk.Source{"Ref:1a": bad}
		require.ErrorIs(t, xva.Write(t.Context(), io.Discard, machine(disks), all, nil), lost)
	}
	short := map[string]disk.Source{"Ref:1a": &faulty{memory: disks["Ref:1a"], read: io.EOF}}
	require.ErrorIs(t, xva.Write(t.Context(), io.Discard, machine(disks), short, nil), io.ErrUnexpectedEOF)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(lost)
	require.ErrorIs(t, xva.Write(ctx, io.Discard, machine(disks), sources(disks), nil), lost)
}

type faulty struct {
	memory
	read, extents error
}

func (f *faulty) ReadAt(p []byte, off int64) (int, error) {
	if f.read != nil && off > 0 {
		return 0, f.read
	}
	return f.memory.ReadAt(p, off)
}

func (f *faulty) Extents(ctx context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	if f.extents != nil {
		return func(yield func(disk.Extent, error) bool) { yield(disk.Extent{}, f.extents) }
	}
	return f.memory.Extents(ctx, off, n)
}
