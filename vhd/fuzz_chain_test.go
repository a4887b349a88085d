package vhd_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

// slowSector returns a sector of an image that Open has accepted, nil if the image
// does not hold it, by the book and with code of its own.
func slowSector(file []byte, n int64) []byte {
	be := binary.BigEndian
	footer := file[len(file)-512:]
	if be.Uint32(footer[60:]) == 2 {
		sector := make([]byte, 512)
		copy(sector, file[n*512:min(int64(len(file))-512, (n+1)*512)])
		return sector
	}
	header := file[be.Uint64(footer[16:]):]
	blockSize := int64(be.Uint32(header[32:]))
	table := file[be.Uint64(header[16:]):]
	block, within := n*512/blockSize, n%(blockSize/512)
	at := be.Uint32(table[4*block:])
	if at == 0xffffffff {
		return nil
	}
	bitmapBytes := (blockSize/512/8 + 511) / 512 * 512
	if blockSize < 8*512 {
		bitmapBytes = 512
	}
	data := file[int64(at)*512:]
	if data[within/8]&(0x80>>(within%8)) == 0 {
		return nil
	}
	return data[bitmapBytes+within*512:][:512]
}

// slowRead is what the first n bytes of a chain are, the leaf first.
func slowRead(files [][]byte, n int64) []byte {
	be := binary.BigEndian
	content := make([]byte, n)
	for at := int64(0); at < n; at += 512 {
		limit := n
		for _, file := range files {
			limit = min(limit, int64(be.Uint64(file[len(file)-512+48:])))
			if at >= limit {
				break
			}
			if sector := slowSector(file, at/512); sector != nil {
				copy(content[at:limit], sector)
				break
			}
		}
	}
	return content
}

// FuzzChain reads chains of two and of three images.
func FuzzChain(f *testing.F) {
	for _, blockSize := range []int64{512, 1024, 4096} {
		leaf := &spec{typ: vhd.Differencing, size: 512*5 + 10, blockSize: 1024, uuid: 3, parent: 2, parentName: "p.vhd", order: []int{2, 0}}
		middle := &spec{typ: vhd.Differencing, size: 512 * 6, blockSize: blockSize, uuid: 2, parent: 1, parentName: "p.vhd"}
		root := &spec{typ: vhd.Dynamic, size: 512 * 4, blockSize: blockSize, uuid: 1}
		for i, n := range []int64{0, 3, 5} {
			leaf.put(n&^1, filled(3, n))
			middle.put(n, filled(2, n))
			root.put(int64(i), filled(1, n))
		}
		f.Add(leaf.encode(), middle.encode(), root.encode())
		root.typ = vhd.Fixed
		f.Add(leaf.encode(), root.encode(), root.encode())
	}
	f.Fuzz(func(t *testing.T, leaf, middle, root []byte) {
		for _, files := range [][][]byte{{leaf, middle, root}, {sealed(leaf), sealed(middle), sealed(root)}} {
			fuzzChain(t, files)
		}
	})
}

func fuzzChain(t *testing.T, files [][]byte) {
	t.Helper()
	var images []*vhd.Image
	for _, file := range files {
		image, err := vhd.Open(bytes.NewReader(file), int64(len(file)), nil)
		if err != nil {
			requireTyped(t, err)
			return
		}
		images = append(images, image)
	}
	next := 0
	open := func(context.Context, *vhd.Image, vhd.ParentRef) (*vhd.Image, error) {
		if next++; next >= len(images) {
			return nil, vhd.ErrParentNotFound
		}
		return images[next], nil
	}
	accept := func(_, _ *vhd.Image) bool { return true }
	chain, err := vhd.OpenChain(t.Context(), images[0], open, &vhd.ChainOptions{MaxLinks: 3, AcceptParent: accept})
	if err != nil {
		return
	}
	got := make([]byte, min(chain.Size(), 1<<18))
	if len(got) == 0 {
		return
	}
	_, err = chain.ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(slowRead(files[:len(chain.Links())], int64(len(got))), got))
	end := int64(0)
	for e, err := range chain.Extents(t.Context(), 0, int64(len(got))) {
		require.NoError(t, err)
		require.Equal(t, end, e.Off)
		end = e.End()
	}
	for e, err := range vhd.Diff(t.Context(), nil, chain) {
		require.NoError(t, err)
		require.LessOrEqual(t, e.End(), chain.Size())
		if e.Off > 1<<20 {
			break
		}
	}
}

// FuzzParentLocator follows hostile names of parents.
func FuzzParentLocator(f *testing.F) {
	f.Add("W2ru", utf16le(`.\p.vhd`, false), "p.vhd")
	f.Add("W2ku", utf16le(`C:\a\..\p.vhd`, true), `\\server\p.vhd`)
	f.Add("MacX", []byte("file://./p%2f.vhd"), "../../p.vhd")
	f.Add("W2ru", []byte{0x00, 0xd8, 0x00}, "\ufffd")
	child := &spec{typ: vhd.Differencing, size: 1024, blockSize: 512, uuid: 2, parent: 1}
	parent := &spec{typ: vhd.Dynamic, size: 1024, blockSize: 512, uuid: 1}
	parent.put(0, filled(1, 0))
	f.Fuzz(func(t *testing.T, code string, content []byte, name string) {
		s := *child
		if len(code) != 4 || len(content) > 1<<16 {
			return
		}
		s.parentName = string([]rune(name)[:min(100, len([]rune(name)))])
		dir := newCrashDir(map[string][]byte{"d/c.vhd": withLocator(s.encode(), code, content), "d/p.vhd": parent.encode()})
		chain, err := vhd.OpenDirChain(t.Context(), dir, "d/c.vhd", nil)
		if err == nil {
			require.Equal(t, "d/p.vhd", chain.Links()[1].Name())
			require.True(t, bytes.Equal(model(&s, parent), readAll(t, chain)))
		}
	})
}

// FuzzChunk decodes hostile files of blocks.
func FuzzChunk(f *testing.F) {
	s := small()
	for _, filter := range []vhd.ChunkFilter{vhd.FilterNone, vhd.FilterGzip, vhd.FilterBrotli} {
		files := asDirectory(f, s, filter)
		f.Add(string(filter), files["d.vhd/header"], files["d.vhd/footer"], files["d.vhd/bat"], files["d.vhd/blocks/0/0"])
	}
	f.Fuzz(func(t *testing.T, filter string, header, footer, table, block []byte) {
		files := map[string][]byte{
			"d.vhd/header": header, "d.vhd/footer": footer, "d.vhd/bat": table, "d.vhd/blocks/0/0": block,
			"d.vhd/chunk-filters.json": []byte(`["` + filter + `"]`),
		}
		image, err := vhd.OpenDirectory(t.Context(), newCrashDir(files), "d.vhd")
		if err != nil {
			return
		}
		got := make([]byte, min(image.Size(), 1<<16))
		if _, err := image.ReadAt(got, 0); err != nil && len(got) > 0 {
			requireTyped(t, err)
		}
	})
}
