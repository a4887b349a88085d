package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
)

// diskOutput is where a [DiskWriter] writes.
type diskOutput interface {
	// write takes the next block. It does not keep data.
	write(index uint32, data []byte) error
	// finish completes the disk, durably, looks whether it is what was meant, and
	// lets it have its name.
	finish() error
	// discard removes what was written, under whatever name. It may be repeated,
	// until it succeeds.
	discard(ctx context.Context) error
}

// fileOutput writes a VHD file, beside its name.
type fileOutput struct {
	d      *DiskWriter
	out    *remote.Writer
	stream *vhd.StreamWriter
	placed bool // the file may have its name
}

func newFileOutput(d *DiskWriter) (*fileOutput, error) {
	out, err := remote.Create(d.ctx, d.w.s.fsys, d.name)
	if err != nil {
		return nil, err
	}
	head, done := d.sums.head(out)
	stream, err := vhd.NewStreamWriter(head, d.layout)
	if err != nil {
		return nil, errors.Join(err, out.Abort())
	}
	done()
	return &fileOutput{d: d, out: out, stream: stream}, nil
}

func (o *fileOutput) write(index uint32, data []byte) error {
	return o.d.sums.block(index, data, func() error { return o.stream.WriteBlock(index, data) })
}

func (o *fileOutput) finish() error {
	if err := o.stream.Close(); err != nil {
		return err
	}
	if n := o.out.Size(); n != o.d.size {
		return fmt.Errorf("%d bytes written for %d: %w", n, o.d.size, ErrIncomplete)
	}
	o.placed = true
	if err := o.out.CommitNew(); err != nil {
		if errors.Is(err, fs.ErrExist) {
			o.placed = false // somebody else's
		}
		return err
	}
	return o.verify()
}

// verify opens the file as a reader would: footers, header and block table.
func (o *fileOutput) verify() error {
	f, err := openDiskFile(o.d.ctx, o.d.w.s.fsys, o.d.name, vhd.Strict)
	if err != nil {
		return err
	}
	defer f.close()
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != o.d.size {
		return fmt.Errorf("read back %d bytes: %w", info.Size(), ErrIncomplete)
	}
	return o.d.compare(f.img)
}

func (o *fileOutput) discard(ctx context.Context) error {
	if err := o.out.Abort(); err != nil {
		return err
	}
	if !o.placed {
		return nil
	}
	if err := o.d.w.s.fsys.Remove(ctx, o.d.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	o.placed = false
	return nil
}

// compare tells whether img, which was read back, is what d was to write.
func (d *DiskWriter) compare(img *vhd.Image) error {
	if img.UUID() != d.layout.UUID || img.Size() != d.layout.Size || img.Allocated() != len(d.layout.Blocks) {
		return fmt.Errorf("read back uuid %s, %d bytes, %d blocks: %w", img.UUID(), img.Size(), img.Allocated(), ErrIncomplete)
	}
	return nil
}

// dir is the directory of the disk, from the root.
func (d *DiskWriter) dir() string { return path.Dir(d.name) }
