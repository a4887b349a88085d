package xva_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xva"
)

// What reads as a whole archive is written again, and reads the same. All else is a *FormatError.
func FuzzReader(f *testing.F) {
	small := map[string]memory{"Ref:1a": noise(700, 1), "Ref:2a": noise(10, 2)}
	f.Add(write(f, small, nil), false)
	f.Add(write(f, small, &xva.WriterOptions{Checksum: xva.XXHash}), true)
	f.Add(write(f, nil, nil), true)
	for _, kind := range []xva.Compression{xva.Gzip, xva.Zstd} {
		var out bytes.Buffer
		w, err := xva.NewCompressor(&out, kind)
		require.NoError(f, err)
		_, err = w.Write(write(f, small, nil))
		require.NoError(f, err)
		require.NoError(f, w.Close())
		f.Add(out.Bytes(), false)
	}
	var gnu bytes.Buffer
	w := tar.NewWriter(&gnu)
	require.NoError(f, w.WriteHeader(&tar.Header{Name: "ova.xml", Size: 9, Format: tar.FormatGNU, Mode: 1}))
	_, err := w.Write([]byte("<value/>\n"))
	require.NoError(f, err)
	require.NoError(f, w.Close())
	f.Add(gnu.Bytes(), true)
	f.Fuzz(func(t *testing.T, raw []byte, unlisted bool) {
		x, err := xva.NewReader(bytes.NewReader(raw), nil)
		var total int64
		if err == nil {
			for _, d := range x.Disks() {
				total += d.Size
			}
			require.NoError(t, x.Close())
		}
		if total < 0 || total > 1<<18 {
			return
		}
		disks, x, err := read(bytes.NewReader(raw), &xva.ReaderOptions{Unlisted: unlisted})
		if err != nil {
			var where *xva.FormatError
			if !errors.As(err, &where) && x == nil {
				t.Fatal(err)
			}
			return
		}
		ova := x.OVA()
		all := map[string]memory{}
		for _, d := range x.Disks() {
			if d.Size == 0 {
				return
			}
			all[d.ID] = disks[d.ID]
		}
		ova.Version.ExportVSN = 2
		var out bytes.Buffer
		require.NoError(t, xva.Write(t.Context(), &out, ova, sources(all), nil))
		again, _, err := read(&out, nil)
		require.NoError(t, err)
		requireSame(t, all, again)
	})
}

// Random access and a stream come to the same verdict, and to the same disks.
func FuzzOpen(f *testing.F) {
	f.Add(write(f, map[string]memory{"Ref:1a": noise(700, 1), "Ref:2a": noise(10, 2)}, nil), false)
	f.Add(write(f, map[string]memory{"Ref:1a": noise(1, 1)}, &xva.WriterOptions{Checksum: xva.XXHash}), true)
	f.Fuzz(func(t *testing.T, raw []byte, unlisted bool) {
		if xva.Sniff(raw) != xva.None {
			return
		}
		a, err := xva.Open(t.Context(), bytes.NewReader(raw), int64(len(raw)), &xva.OpenOptions{Unlisted: unlisted})
		got := map[string]memory{}
		if err == nil {
			total := int64(0)
			for _, m := range a.Images() {
				total += min(m.Size(), 1<<20)
			}
			if total > 1<<18 {
				return
			}
			for _, m := range a.Images() {
				got[m.ID()] = make(memory, m.Size())
				if _, err = m.ReadAt(got[m.ID()], 0); err != nil {
					break
				}
			}
		}
		if err != nil {
			var where *xva.FormatError
			require.ErrorAs(t, err, &where)
		}
		want, x, readErr := read(bytes.NewReader(raw), &xva.ReaderOptions{Unlisted: unlisted})
		if err == nil {
			require.NoError(t, readErr)
			require.Equal(t, x.Stats(), a.Stats())
			requireSame(t, want, got)
		} else if x != nil || readErr == nil {
			require.Error(t, readErr)
		}
	})
}

func FuzzParseOVA(f *testing.F) {
	f.Add([]byte(ovaText))
	f.Add([]byte("<value><struct/></value>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		ova, err := xva.ParseOVA(text)
		if err != nil {
			require.ErrorIs(t, err, xva.ErrOVA)
			return
		}
		disks, errDisks := ova.Disks()
		first, err := ova.Append(nil)
		require.NoError(t, err)
		again, err := xva.ParseOVA(first)
		if err != nil { // what XML cannot say was dropped, and two ids may have become one
			return
		}
		same, errSame := again.Disks()
		if errDisks == nil && errSame == nil {
			require.Len(t, same, len(disks))
		}
	})
}
