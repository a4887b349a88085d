package vhd_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

func seeds(f *testing.F) {
	f.Helper()
	s := &spec{typ: vhd.Dynamic, size: 512*5 + 10, blockSize: 1024, uuid: 1, order: []int{2, 0}} // small: they get minimized
	for _, n := range []int64{0, 1, 5} {
		s.put(n, filled(1, n))
	}
	f.Add(s.encode())
	s.typ, s.parent, s.parentName = vhd.Differencing, 2, "parent.vhd"
	f.Add(s.encode())
	f.Add((&spec{typ: vhd.Fixed, size: 1000, uuid: 3}).encode())
	f.Add((&spec{typ: vhd.Dynamic, size: 0, blockSize: 2 << 20, uuid: 4}).encode())
	f.Add([]byte("conectix"))
}

func FuzzOpen(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, data := range [][]byte{file, sealed(file)} {
			for _, mode := range []vhd.Mode{vhd.Strict, vhd.Recover} {
				image, err := vhd.Open(bytes.NewReader(data), int64(len(data)), &vhd.OpenOptions{Mode: mode})
				if err != nil {
					requireTyped(t, err)
					continue
				}
				if mode == vhd.Strict {
					require.LessOrEqual(t, int64(image.Allocated())*512, int64(len(data))+(2<<20))
				}
				buf := make([]byte, min(image.Size(), 1<<20))
				if _, err := image.ReadAt(buf, 0); err != nil && len(buf) > 0 {
					requireTyped(t, err)
				}
				at := int64(0)
				for e, err := range image.Extents(t.Context(), 0, min(image.Size(), 1<<24)) {
					if err != nil {
						requireTyped(t, err)
						break
					}
					require.Equal(t, at, e.Off)
					require.Positive(t, e.Len)
					at = e.End()
				}
			}
		}
	})
}

// sealed returns a copy with right checksums, so that mutations get past them.
func sealed(file []byte) []byte {
	if len(file) < 2048 {
		return file
	}
	return seal(bytes.Clone(file))
}

func FuzzStreamReader(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, data := range [][]byte{file, sealed(file)} {
			got, err := readStream(bytes.NewReader(data))
			if err != nil {
				requireTyped(t, err)
				continue
			}
			// What is accepted as a stream reads the same as a file.
			image, err := vhd.Open(bytes.NewReader(data), int64(len(data)), nil)
			require.NoError(t, err)
			if image.Type() == vhd.Dynamic {
				want := make([]byte, len(got))
				if len(want) > 0 {
					_, err = image.ReadAt(want, 0)
					require.NoError(t, err)
				}
				require.True(t, bytes.Equal(want, got))
			}
		}
	})
}

func FuzzMergeState(f *testing.F) {
	f.Add([]byte(`{"child":{"uuid":"00000030-0000-4000-8000-000000002329"},"parent":{"uuid":"00000030-0000-4000-8000-000000002328"},"chain":["20260110T030000Z.vhd","20260110T040000Z.vhd"],"currentBlock":0,"mergedDataSize":2097152,"step":"mergeBlocks","diskSize":0}`))
	f.Add([]byte(`{"child":{"uuid":"00000030-0000-4000-8000-000000002329"},"parent":{"uuid":"00000030-0000-4000-8000-000000002328"},"currentBlock":null,"step":"cleanup"}`))
	f.Add([]byte(`{"child":{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var state, again vhd.MergeState
		if err := state.UnmarshalJSON(data); err != nil {
			require.ErrorIs(t, err, vhd.ErrMergeState)
			return
		}
		require.GreaterOrEqual(t, state.CurrentBlock, int64(0))
		encoded, err := state.MarshalJSON()
		require.NoError(t, err)
		require.NoError(t, again.UnmarshalJSON(encoded))
		require.Equal(t, state, again)
	})
}
