package xva_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xva"
)

// memory is a disk in memory; runs of zeros of 4 KiB and more, at multiples of it, are holes.
type memory []byte

var zeros [4096]byte

func (m memory) Size() int64 { return int64(len(m)) }

func (m memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }

func (m memory) Extents(_ context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		end := min(off+n, m.Size())
		var run disk.Extent
		for off < end {
			next := min((off/4096+1)*4096, end)
			kind := disk.Hole
			if !bytes.Equal(m[off:next], zeros[:next-off]) {
				kind = disk.Data
			}
			if run.Len > 0 && run.Kind != kind {
				if !yield(run, nil) {
					return
				}
				run = disk.Extent{}
			}
			if run.Len == 0 {
				run = disk.Extent{Off: off, Kind: kind}
			}
			run.Len += next - off
			off = next
		}
		if run.Len > 0 {
			yield(run, nil)
		}
	}
}

// sparse makes a disk with some text at each offset.
func sparse(size int64, offsets ...int64) memory {
	m := make(memory, size)
	for _, off := range offsets {
		copy(m[off:], fmt.Sprintf("data at %d", off))
	}
	return m
}

func noise(size int, seed byte) memory {
	m := make(memory, size)
	rng := rand.NewChaCha8([32]byte{seed})
	_, _ = rng.Read(m)
	return m
}

// machine describes a VM with these disks, a CD and a memory image that it does not have.
func machine(disks map[string]memory) *xva.OVA {
	ova := &xva.OVA{
		Version: xva.Version{Hostname: "host", ProductBrand: "XCP-ng", XapiMajor: 1, XapiMinor: 20, ExportVSN: 2},
		Objects: []xva.Object{
			{Class: "VM", ID: "Ref:0", Snapshot: map[string]any{"name_label": "web", "suspend_VDI": "OpaqueRef:NULL"}},
			{Class: "SR", ID: "Ref:1", Snapshot: map[string]any{"content_type": "user"}},
			{Class: "SR", ID: "Ref:2", Snapshot: map[string]any{"content_type": "iso"}},
			{Class: "VDI", ID: "Ref:3", Snapshot: map[string]any{"SR": "Ref:2", "virtual_size": "5000000"}},
			{Class: "VBD", ID: "Ref:4", Snapshot: map[string]any{"type": "CD", "VDI": "Ref:3", "VM": "Ref:0"}},
			{Class: "VBD", ID: "Ref:5", Snapshot: map[string]any{"type": "Disk", "VDI": "Ref:3", "VM": "Ref:0"}},
			{Class: "VBD", ID: "Ref:6", Snapshot: map[string]any{"type": "CD", "VDI": "OpaqueRef:NULL", "VM": "Ref:0"}},
		},
	}
	for id, m := range disks {
		ova.Objects = append(
			ova.Objects,
			xva.Object{Class: "VDI", ID: id, Snapshot: map[string]any{"SR": "Ref:1", "virtual_size": m.Size(), "type": "user"}},
			xva.Object{Class: "VBD", ID: "VBD" + id, Snapshot: map[string]any{"type": "Disk", "VDI": id, "VM": "Ref:0"}},
		)
	}
	return ova
}

func sources(disks map[string]memory) map[string]disk.Source {
	all := map[string]disk.Source{}
	for id, m := range disks {
		all[id] = m
	}
	return all
}

// write makes an archive of the disks, and checks that its size was known.
func write(t require.TestingT, disks map[string]memory, opts *xva.WriterOptions) []byte {
	var out bytes.Buffer
	ova := machine(disks)
	size, err := xva.Size(context.Background(), ova, sources(disks), opts)
	require.NoError(t, err)
	require.NoError(t, xva.Write(context.Background(), &out, ova, sources(disks), opts))
	require.EqualValues(t, size, out.Len())
	return out.Bytes()
}

// read returns the disks of an archive.
func read(r io.Reader, opts *xva.ReaderOptions) (map[string]memory, *xva.Reader, error) {
	x, err := xva.NewReader(r, opts)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = x.Close() }()
	disks := map[string]memory{}
	for _, d := range x.Disks() {
		if d.Size > 1<<30 {
			return nil, x, errors.New("too large for this test")
		}
		disks[d.ID] = make(memory, d.Size)
	}
	for {
		c, err := x.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return disks, x, err
		}
		m := disks[c.Disk.ID]
		if missing := c.Off + int64(len(c.Data)) - m.Size(); missing > 0 {
			if c.Disk.Size >= 0 || missing > 1<<28 {
				return disks, x, fmt.Errorf("chunk at %d of a disk of %d bytes", c.Off, m.Size())
			}
			m = append(m, make(memory, missing)...)
			disks[c.Disk.ID] = m
		}
		copy(m[c.Off:], c.Data)
	}
}

func requireSame(t require.TestingT, want, got map[string]memory) {
	require.Len(t, got, len(want))
	for id := range want {
		require.True(t, bytes.Equal(want[id], got[id]), "content of %s", id)
	}
}

func compress(t *testing.T, plain []byte, kind xva.Compression) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := xva.NewCompressor(&out, kind)
	require.NoError(t, err)
	_, err = w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// file is a member of an archive that a test makes by hand.
type file struct{ name, content string }

// archive makes a tar of files with another writer than ours.
func archive(t *testing.T, format tar.Format, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Size: int64(len(f.content)), Mode: 0o400, Format: format}
		require.NoError(t, w.WriteHeader(h))
		_, err := io.WriteString(w, f.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}
