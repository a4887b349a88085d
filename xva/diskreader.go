package xva

import (
	"errors"
	"io"
	"math"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// DiskReader reads one disk of an archive as it comes: as raw bytes with Read, as blocks with NextBlock, or as chunks with Next; a
// program chooses one of the three. Each ends with io.EOF when the disk is complete and verified; whether the whole archive is says
// [Reader.NextDisk].
type DiskReader struct {
	r    *Reader
	disk Disk
	size int64 // of what was seen; the disk's when that is known
	pos  int64 // of Read and NextBlock
	cur  Chunk // to be given out by Read and NextBlock
	err  error
}

// NextDisk goes on to the next disk, after the rest of the one before, which is verified too. io.EOF is the proof of which [Reader.Next]
// tells. Disks of size 0 do not come. The DiskReader before is of no more use. Do not call Next of the Reader in between.
func (r *Reader) NextDisk() (*DiskReader, error) {
	if r.part != nil {
		for {
			_, err := r.part.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
		}
		r.part.err = errOver
	}
	if r.held == nil {
		c, err := r.Next()
		if err != nil {
			return nil, err
		}
		r.held = &c
	}
	d := r.held.Disk
	r.part = &DiskReader{r: r, disk: d, size: max(0, d.Size)}
	return r.part, nil
}

var errOver = errors.New("xva: this disk is over")

// Disk returns the disk that is read.
func (d *DiskReader) Disk() Disk { return d.disk }

// Next returns the next chunk of this disk.
func (d *DiskReader) Next() (Chunk, error) {
	if d.err != nil {
		return Chunk{}, d.err
	}
	c := d.r.held
	if d.r.held = nil; c == nil {
		next, err := d.r.Next()
		if err == nil && next.Disk.ID != d.disk.ID {
			d.r.held = &next
			err = io.EOF
		}
		if err != nil {
			d.err = err
			return Chunk{}, err
		}
		c = &next
	}
	d.size = max(d.size, c.Off+int64(len(c.Data)))
	return *c, nil
}

// load makes sure that cur is what lies at pos or behind it; with an error there is nothing more.
func (d *DiskReader) load() error {
	for d.cur.Off+int64(len(d.cur.Data)) <= d.pos {
		c, err := d.Next()
		if err != nil {
			return err
		}
		d.cur = c
	}
	return nil
}

// Read gives the raw bytes of the disk, zeros where the archive has nothing.
func (d *DiskReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := d.load(); err != nil {
		return 0, err
	}
	if gap := d.cur.Off - d.pos; gap > 0 {
		n := min(int64(len(p)), gap)
		clear(p[:n])
		d.pos += n
		return int(n), nil
	}
	n := copy(p, d.cur.Data[d.pos-d.cur.Off:])
	d.pos += int64(n)
	return n, nil
}

// NextBlock fills p, of at least [disk.BlockSize] bytes, with the next block of the disk that holds anything but zeros, and returns its
// index. Of the last block of a disk, n may be less than disk.BlockSize.
func (d *DiskReader) NextBlock(p []byte) (index uint32, n int, err error) {
	for {
		if err := d.load(); err != nil {
			return 0, 0, err
		}
		block := max(d.cur.Off, d.pos) / disk.BlockSize
		if block > math.MaxUint32 {
			return 0, 0, d.r.fail(errBlocks)
		}
		start := block * disk.BlockSize
		data, err := d.fill(p[:disk.BlockSize], start)
		if err != nil {
			return 0, 0, err
		}
		n := min(disk.BlockSize, d.size-start)
		if d.pos = start + disk.BlockSize; data {
			return uint32(block), int(n), nil
		}
	}
}

// fill puts the block that begins at start into p.
func (d *DiskReader) fill(p []byte, start int64) (data bool, err error) {
	done := int64(0)
	for done < int64(len(p)) {
		d.pos = start + done
		err := d.load()
		gap := int64(len(p)) - done
		if err == nil {
			gap = min(gap, max(0, d.cur.Off-d.pos))
		} else if !errors.Is(err, io.EOF) {
			return false, err
		}
		clear(p[done : done+gap])
		if done += gap; gap > 0 {
			continue
		}
		part := d.cur.Data[d.pos-d.cur.Off:]
		n := int64(copy(p[done:], part))
		for at := int64(0); at < n && !data; at += grain {
			data = !isZero(part[at:min(at+grain, n)])
		}
		done += n
	}
	return data, nil
}
