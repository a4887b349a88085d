package vhd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// xoTableOffset is where the header of XO's directory flavour says that a table is: right behind it.
const xoTableOffset = footerSize + headerSize

// DirectoryWriter writes a disk as XO keeps it in a directory: a file per block,
// which other programs may copy or encrypt one by one. Its methods may be called
// concurrently.
//
// Each file is durable when it is there. Until Close has returned nil the
// directory is not a disk; nothing must name it before, see [WriteAlias].
type DirectoryWriter struct {
	dir    DirMaker
	name   string
	layout Layout
	filter ChunkFilter
	chunks sync.Pool // of bitmap and block

	mu      sync.Mutex
	bits    bitmap       // of the blocks that were written
	parents map[int]bool // directories of a thousand blocks that are there
	closed  bool
}

// NewDirectoryWriter begins a disk in the directory name, which must be new or
// empty: else the error is fs.ErrExist. l is as for a stream; its Blocks are nil, and
// any may be written. ParentName is the path from the directory of the alias of this
// disk to that of its parent. XO continues chains that are compressed with
// [FilterBrotli] alone.
func NewDirectoryWriter(ctx context.Context, dir DirMaker, name string, l Layout, filter ChunkFilter) (*DirectoryWriter, error) {
	if err := l.checkStream(); err != nil {
		return nil, err
	}
	if len(l.Blocks) > 0 || l.blockSize() != disk.BlockSize {
		return nil, fmt.Errorf("%w: a directory with %d blocks listed, of %d bytes", ErrUnsupported, len(l.Blocks), l.blockSize())
	}
	if filter != FilterNone && filter != FilterGzip && filter != FilterBrotli {
		return nil, fmt.Errorf("%w: filter %q", ErrUnsupported, filter)
	}
	if names, err := dir.List(ctx, name); err == nil && len(names) > 0 {
		return nil, &fs.PathError{Op: "create disk", Path: name, Err: fs.ErrExist}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	w := &DirectoryWriter{
		dir: dir, name: name, layout: l, filter: filter,
		bits: make(bitmap, l.entries()), parents: make(map[int]bool), // 8 times what is needed, as XO has it
	}
	if err := dir.MkdirAll(ctx, path.Join(name, "blocks")); err != nil {
		return nil, err
	}
	if filter == FilterNone {
		return w, nil
	}
	filters, err := json.Marshal([]ChunkFilter{filter})
	if err != nil {
		return nil, err
	}
	return w, dir.WriteFile(ctx, path.Join(name, filterFile), filters)
}

// WriteBlock writes the 2 MiB of one block; data may be shorter, the rest then
// is zeros. Blocks may come in any order. One that is written again is replaced.
func (w *DirectoryWriter) WriteBlock(ctx context.Context, index uint32, data []byte) error {
	if int64(index) >= w.layout.entries() || len(data) > disk.BlockSize {
		return fmt.Errorf("%w: block %d of %d bytes", ErrUnsupported, index, len(data))
	}
	if err := w.parent(ctx, int(index)); err != nil {
		return err
	}
	chunk, ok := w.chunks.Get().(*[]byte)
	if !ok {
		b := make([]byte, w.layout.bitmapLen()+disk.BlockSize)
		copy(b, w.layout.fullBitmap())
		chunk = &b
	}
	defer w.chunks.Put(chunk)
	content := (*chunk)[w.layout.bitmapLen():]
	n := copy(content, data[:min(int64(len(data)), w.layout.dataIn(index))])
	clear(content[n:])
	if err := w.write(ctx, path.Join("blocks", strconv.Itoa(int(index/1000)), strconv.Itoa(int(index%1000))), *chunk); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bits.set(int(index), 1)
	return nil
}

// parent makes the directory of a block.
func (w *DirectoryWriter) parent(ctx context.Context, index int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch thousand := index / 1000; {
	case w.closed:
		return errClosed
	case w.parents[thousand]:
	default:
		if err := w.dir.MkdirAll(ctx, path.Join(w.name, "blocks", strconv.Itoa(thousand))); err != nil {
			return err
		}
		w.parents[thousand] = true
	}
	return nil
}

func (w *DirectoryWriter) write(ctx context.Context, name string, content []byte) error {
	encoded, err := encodeChunk(w.filter, content)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return w.dir.WriteFile(ctx, path.Join(w.name, name), encoded)
}

// Close writes what makes the directory a disk: the bitmap of its blocks, the
// header, the footer. It must be called when all blocks are written.
func (w *DirectoryWriter) Close(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosed
	}
	w.closed = true
	l := w.layout
	header := Header{
		TableOffset: xoTableOffset, Version: formatVersion, MaxTableEntries: uint32(l.entries()),
		BlockSize: disk.BlockSize, ParentUUID: l.ParentUUID, ParentName: l.ParentName,
	}
	footer := l.footer()
	for _, file := range []struct {
		name    string
		content []byte
	}{{"bat", w.bits}, {"header", header.encode()[:]}, {"footer", footer.encode()[:]}} {
		if err := w.write(ctx, file.name, file.content); err != nil {
			return err
		}
	}
	return nil
}

// WriteAlias publishes the disk in the directory target under the name of an
// alias, such as "20260110T030000Z.alias.vhd". Both are relative to dir. It is durable
// when WriteAlias returns.
func WriteAlias(ctx context.Context, dir Dir, alias, target string) error {
	from := path.Dir(alias)
	up := ""
	for from != "." && target != from && !strings.HasPrefix(target, from+"/") {
		from, up = path.Dir(from), up+"../"
	}
	relative := up + strings.TrimPrefix(target, from+"/")
	if !strings.HasSuffix(alias, ".alias.vhd") || !strings.HasSuffix(target, ".vhd") || strings.HasSuffix(target, ".alias.vhd") ||
		!fs.ValidPath(alias) || !fs.ValidPath(target) || len(relative) > maxAlias {
		return fmt.Errorf("%w: alias %q of %q", ErrUnsupported, alias, target)
	}
	return dir.WriteFile(ctx, alias, []byte(relative))
}

// FlattenDirectory writes src as one disk to the directory name: it is
// [Flatten] to XO's directory flavour. Blocks that are all zeros are left out.
func FlattenDirectory(ctx context.Context, dir DirMaker, name string, src disk.Source, l Layout, filter ChunkFilter, opts *CopyOptions) error {
	if l.Size == 0 {
		l.Size = roundUp(src.Size(), sectorSize)
	}
	if l.Type != Dynamic || src.Size() > l.Size {
		return fmt.Errorf("%w: flatten %d bytes to a %v disk of %d", ErrUnsupported, src.Size(), l.Type, l.Size)
	}
	var blocks []uint32
	find := &flattener{disk: mapDisk(src)}
	if err := find.eachBlock(ctx, func(block uint32, _ []segment) { blocks = append(blocks, block) }); err != nil {
		return err
	}
	w, err := NewDirectoryWriter(ctx, dir, name, l, filter)
	if err != nil {
		return err
	}
	f := newFlattener(nil, &mapping{src: src}, l, opts)
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(f.options.Workers)
	for _, block := range blocks {
		if groupCtx.Err() != nil {
			break
		}
		f.progress(int64(block) * disk.BlockSize)
		g.Go(func() error {
			buf := f.buffer()
			defer f.buffers.Put(buf)
			off := int64(block) * disk.BlockSize
			data := (*buf)[:min(disk.BlockSize, src.Size()-off)]
			if err := readPadded(src, data, off); err != nil || isZero(data) {
				return err
			}
			return w.WriteBlock(groupCtx, block, data)
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("flatten: %w", err)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := w.Close(ctx); err != nil {
		return err
	}
	f.progress(l.Size)
	return nil
}
