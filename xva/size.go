package xva

import (
	"context"
	"fmt"
	"io"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// Size returns the exact length in bytes of the plain archive that Write makes of the same arguments, without reading any data. disks
// holds a source for each disk that ova lists.
func Size(ctx context.Context, ova *OVA, disks map[string]disk.Source, opts *WriterOptions) (int64, error) {
	p, err := newPlan(ova, opts)
	if err != nil {
		return 0, err
	}
	total := blockSize + padded(int64(len(p.ova))) + 2*blockSize
	for _, d := range p.disks {
		src, err := sourceOf(d, disks)
		if err != nil {
			return 0, err
		}
		err = runs(ctx, src, p.dense, func(first, end int64) error {
			chunks := (end - first + ChunkSize - 1) / ChunkSize
			total += chunks * 3 * blockSize // two headers, one checksum
			total += padded(min(end, src.Size()) - first)
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	return total, nil
}

// Write writes a whole plain archive. The sources must not change meanwhile, nor since [Size].
func Write(ctx context.Context, w io.Writer, ova *OVA, disks map[string]disk.Source, opts *WriterOptions) error {
	wr, err := NewWriter(w, ova, opts)
	if err != nil {
		return err
	}
	for _, d := range wr.disks {
		src, err := sourceOf(d, disks)
		if err != nil {
			return err
		}
		if err := wr.WriteDisk(ctx, d.ID, src); err != nil {
			return err
		}
	}
	return wr.Close()
}

func sourceOf(d Disk, disks map[string]disk.Source) (disk.Source, error) {
	src := disks[d.ID]
	if src == nil {
		return nil, fmt.Errorf("xva: %s: %w: no source", d.ID, ErrIncomplete)
	}
	return src, checkSize([]Disk{d}, d.ID, src)
}

func checkSize(disks []Disk, id string, src disk.Source) error {
	for _, d := range disks {
		if d.ID == id && d.Size != src.Size() {
			return fmt.Errorf("xva: %s: %w: virtual_size is %d, the source has %d", id, ErrOVA, d.Size, src.Size())
		}
	}
	return nil
}

// runs calls emit with the chunks of src that an archive holds, as ranges of bytes that begin at a chunk, ascending and apart; the last may
// end past the disk.
func runs(ctx context.Context, src disk.Source, dense bool, emit func(first, end int64) error) error {
	size := src.Size()
	last := (size - 1) / ChunkSize * ChunkSize
	if dense {
		return emit(0, last+ChunkSize)
	}
	first, end := int64(0), int64(ChunkSize)
	add := func(from, to int64) error {
		if from <= end {
			end = max(end, to)
			return nil
		}
		err := emit(first, end)
		first, end = from, to
		return err
	}
	for e, err := range src.Extents(ctx, 0, size) {
		if err != nil {
			return fmt.Errorf("xva: extents: %w", err)
		}
		if e.Kind != disk.Data {
			continue
		}
		if err := add(e.Off/ChunkSize*ChunkSize, (e.End()+ChunkSize-1)/ChunkSize*ChunkSize); err != nil {
			return err
		}
	}
	if err := add(last, last+ChunkSize); err != nil {
		return err
	}
	return emit(first, end)
}
