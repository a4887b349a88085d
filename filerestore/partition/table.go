package partition

import (
	"errors"
	"fmt"
	"io"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// ErrNone is returned for a disk without a partition table.
var ErrNone = errors.New("no partition table")

// maxPartitions is how many partitions of a table are read; no system has as many.
const maxPartitions = 1024

// Options of [Read]. Nil and zero fields mean the defaults.
type Options struct {
	// SectorSize is the unit of the table in bytes, 512 or 4096. By default a GPT
	// tells, and an MBR is of 512.
	SectorSize int64
}

// Table is a partition table.
type Table struct {
	Type       string // "gpt" or "mbr"
	SectorSize int64  // in bytes
	ID         string // GUID, or eight hexadecimal digits of an MBR's signature
	Partitions []Partition
	Warnings   []fsys.Warning
}

// Partition is a part of a disk. Containers of logical partitions are none.
type Partition struct {
	Number    int    // as Linux counts: logical ones from 5 on
	Off, Size int64  // in bytes; inside the disk
	Type      string // GUID in lower case, or "0x83"
	Name      string // of a GPT, may be empty
	UUID      string // of a GPT
}

// Read reads the table of a disk of size bytes.
//
// Errors: [ErrNone]; fsys.ErrCorrupt where there is a GPT of which neither copy is
// whole; those of r.
func Read(r io.ReaderAt, size int64, opts *Options) (*Table, error) {
	d := &device{r: r, size: size}
	if opts != nil {
		d.sectorSize = opts.SectorSize
	}
	first, err := d.sector(0)
	if err != nil {
		return nil, err
	}
	m := parseMBR(first)
	if m == nil || m.protective() {
		table, err := d.readGPT(m)
		if err == nil || m != nil || !errors.Is(err, fsys.ErrCorrupt) {
			return table, err
		}
		return nil, fmt.Errorf("partition: %w", ErrNone)
	}
	if m.empty() || bootSector(first) {
		return nil, fmt.Errorf("partition: %w", ErrNone)
	}
	return d.readMBR(m)
}

// device is the disk that a table describes.
type device struct {
	r          io.ReaderAt
	size       int64
	sectorSize int64 // 0: not known
}

// sector is the first 512 bytes of a sector.
func (d *device) sector(off int64) (*[512]byte, error) {
	if off < 0 || off > d.size-512 {
		return nil, formatError("sector", off, fmt.Errorf("%w: the disk has %d bytes", ErrNone, d.size))
	}
	var b [512]byte
	if n, err := d.r.ReadAt(b[:], off); n < len(b) {
		return nil, formatError("sector", off, unexpected(err))
	}
	return &b, nil
}

// add appends a partition of so many sectors, cut at the end of the disk.
func (t *Table) add(d *device, p Partition, start, sectors uint64) {
	limit := uint64(d.size / t.SectorSize)
	switch {
	case len(t.Partitions) == maxPartitions:
		return
	case start >= limit:
		t.warn("partition %d begins behind the end of the disk, and is not shown", p.Number)
		return
	case sectors > limit-start:
		t.warn("partition %d ends behind the end of the disk: %d of its %d sectors are here", p.Number, limit-start, sectors)
		sectors = limit - start
	}
	p.Off, p.Size = int64(start)*t.SectorSize, int64(sectors)*t.SectorSize
	t.Partitions = append(t.Partitions, p)
}

func (t *Table) warn(format string, args ...any) {
	if len(t.Warnings) < 100 {
		t.Warnings = append(t.Warnings, fsys.Warning{Concern: fsys.Damaged, Text: fmt.Sprintf(format, args...)})
	}
}

func formatError(structure string, off int64, err error) error {
	return &fsys.FormatError{FS: "partition", Struct: structure, Off: off, Err: err}
}

func unexpected(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
