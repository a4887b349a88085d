package vhd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

const (
	aliasSuffix = ".alias.vhd"
	maxAlias    = 1024 // bytes
)

// OpenDirectory opens the disk name in dir, which XO keeps in its directory
// flavour: name is its alias (*.alias.vhd), a file that holds the path of the
// directory, or the directory itself. An alias of a single file is opened too, and
// so is such a file by its own name. Names lead nowhere outside of dir:
// [ErrOutside].
//
// Blocks are read and decompressed when they are needed, each as a whole, so
// that the image keeps up to 16 MiB of them, shared by the images of a [Chain].
// A block that an interrupted merge has moved into an older image is found
// there. Errors are those of [Open], and [ErrFilter] for what does not
// decompress; a read of a block that is listed but not there is [ErrIncomplete],
// or [ErrChanged] when a merge was finished meanwhile, or the disk removed: the
// image must be opened again.
//
// ctx bounds the life of the image, which must be closed.
func OpenDirectory(ctx context.Context, dir Dir, name string) (*Image, error) {
	return openIn(ctx, dir, name, Strict)
}

// openIn is OpenDirectory with a mode for what turns out to be a file.
func openIn(ctx context.Context, dir Dir, name string, mode Mode) (*Image, error) {
	root, err := resolveAlias(ctx, dir, name)
	if err != nil {
		return nil, err
	}
	d := &dirBlocks{ctx: ctx, dir: dir, name: name, root: root}
	d.cache.Store(new(chunkCache))
	m := &Image{name: name, source: d}
	raw, err := d.readFooter()
	if err != nil {
		file, fileErr := openDirFile(ctx, dir, name, root, mode)
		if _, ok := errors.AsType[*FormatError](fileErr); fileErr == nil || (ok && !isIO(fileErr)) {
			return file, fileErr
		}
		return nil, err
	}
	if m.footer, err = parseFooter(raw); err != nil {
		return nil, located(err, path.Join(root, "footer"), "footer", 0)
	}
	if m.footer.Type == Fixed {
		return nil, &FormatError{Name: path.Join(root, "footer"), Struct: "footer", Field: "disk type", Err: ErrUnsupported}
	}
	if err := d.openImage(m); err != nil {
		return nil, err
	}
	if m.footer.Type == Differencing {
		m.parent = ParentRef{UUID: m.header.ParentUUID, Names: parentNames(&m.header, func(int64, int) []byte { return nil })}
	}
	return m, nil
}

// resolveAlias returns the path in dir of what an alias stands for, of any other name itself.
func resolveAlias(ctx context.Context, dir Dir, name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &FormatError{Name: name, Struct: "path", Err: ErrOutside}
	}
	if !strings.HasSuffix(name, aliasSuffix) {
		return name, nil
	}
	raw, err := dir.ReadFile(ctx, name)
	if err != nil {
		return "", err
	}
	bad := func(err error) (string, error) {
		return "", &FormatError{Name: name, Struct: "alias", Err: err}
	}
	target := strings.TrimSpace(string(raw))
	switch {
	case len(raw) > maxAlias, target == "", strings.ContainsRune(target, 0):
		return bad(ErrNotVHD)
	case strings.HasSuffix(target, aliasSuffix), !strings.HasSuffix(target, ".vhd"):
		return bad(fmt.Errorf("it names no disk: %w", ErrNotVHD))
	case path.IsAbs(target):
		return bad(ErrOutside)
	}
	target = path.Join(path.Dir(name), target)
	if !fs.ValidPath(target) {
		return bad(ErrOutside)
	}
	return target, nil
}

// openDirFile opens the file at an alias' target, or at its own name.
func openDirFile(ctx context.Context, dir Dir, name, target string, mode Mode) (*Image, error) {
	f, err := dir.Open(ctx, target)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	m, err := Open(f, size, &OpenOptions{Name: name, Mode: mode})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	m.closer = f
	return m, nil
}

func (d *dirBlocks) readFooter() (*[footerSize]byte, error) {
	var err error
	if d.filter, err = readFilter(d.ctx, d.dir, d.root); err != nil {
		return nil, err
	}
	raw := new([footerSize]byte)
	return raw, d.readChunk("footer", raw[:], 0)
}

// openImage reads the header and the table.
func (d *dirBlocks) openImage(m *Image) error {
	var raw [headerSize]byte
	if err := d.readChunk("header", raw[:], 0); err != nil {
		return err
	}
	h, err := parseHeader(&raw)
	name := path.Join(d.root, "header")
	if err != nil {
		return located(err, name, "header", 0)
	}
	m.header, m.blockSize, m.bitmapLen = h, int64(h.BlockSize), bitmapSize(int64(h.BlockSize))
	needed := divUp(m.Size(), m.blockSize)
	if needed > int64(h.MaxTableEntries) {
		return &FormatError{Name: name, Struct: "header", Field: "max table entries", Err: fmt.Errorf("the disk has %d blocks: %w", needed, ErrBAT)}
	}
	if needed > maxEntries {
		return &FormatError{Name: name, Struct: "header", Field: "max table entries", Err: fmt.Errorf("the disk has %d blocks: %w", needed, ErrUnsupported)}
	}
	d.blocks, d.blockSize, d.bitmapLen = int(needed), m.blockSize, m.bitmapLen
	d.uuid, d.parent = m.footer.UUID, h.ParentUUID
	d.bits = make(bitmap, divUp(needed, 8))
	// XO writes a byte per entry, of which it uses a bit: the rest is skipped.
	if err := d.readChunk("bat", d.bits, min(int64(h.MaxTableEntries), maxEntries)); err != nil {
		return err
	}
	for block := range d.blocks {
		if d.bits.has(block) {
			m.allocated++
		}
	}
	m.bitmaps.init(d.blocks)
	return nil
}

// readChunk reads one of the small files of the directory.
func (d *dirBlocks) readChunk(name string, dst []byte, extra int64) (err error) {
	full := path.Join(d.root, name)
	f, err := d.dir.Open(d.ctx, full)
	if err != nil {
		return err
	}
	defer func() { err = located(errors.Join(err, f.Close()), full, name, 0) }()
	return d.cache.Load().decode(f, d.filter, dst, extra)
}
