package xva

import (
	"context"
	"errors"
	"io"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// OpenOptions of [Open]; nil and zero fields mean the default.
type OpenOptions struct {
	// Unlisted accepts disks that ova.xml does not list, as for a [Reader]. Such a disk ends where its last chunk does.
	Unlisted bool
	// Unverified reads disks without comparing checksums. By default the first read of any part of a chunk reads all of it, and
	// compares.
	Unverified bool
}

// An Archive gives random access to the disks of an archive that is not compressed. It may be used by several goroutines.
//
// It keeps 40 bytes for each run of consecutive chunks, and one bit for each chunk that is there: a disk of 2 TiB without gaps takes
// 256 KiB, and one in which every second chunk is left out takes 40 MiB and 128 KiB. An archive that takes more than 128 MiB for
// its runs, or has more than 2^28 chunks, is ErrTooLarge.
type Archive struct {
	ova    *OVA
	images []*Image
	stats  Stats
}

// Open finds out where the chunks of an archive of size bytes in r are: the headers are read, one place in each MiB, several at a
// time, and everything that a [Reader] proves is proven but the checksums of chunks with data. r must stay as it is while the Archive is in
// use. Errors are *FormatError, with the error of r inside when that failed; an archive that is compressed is ErrCompressed.
func Open(ctx context.Context, r io.ReaderAt, size int64, opts *OpenOptions) (*Archive, error) {
	if opts == nil {
		opts = &OpenOptions{}
	}
	scan := &scanner{ctx: ctx, r: r, size: size}
	rd := &Reader{src: &source{r: scan}, release: func() {}, scan: scan}
	rd.in, rd.unlisted = rd.src, opts.Unlisted
	a := &Archive{}
	if err := a.open(rd, r, !opts.Unverified); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Archive) open(rd *Reader, r io.ReaderAt, verify bool) error {
	scan := rd.scan
	if scan.size > 0 {
		start, err := scan.readAt(scan.buf[:min(scan.size, int64(len(zstdMagic)))], 0)
		if err != nil {
			return rd.fail(err)
		}
		if Sniff(start) != None {
			return rd.fail(ErrCompressed)
		}
	}
	if err := rd.begin(); err != nil {
		return err
	}
	a.ova = rd.ova
	index := &indexer{archive: a, r: r, verify: verify}
	for {
		p, err := rd.readPiece(nil)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if p.off == rd.cur.pos { // a keepalive, which nobody reads
			if err := p.verify(); err != nil {
				return err
			}
			continue
		}
		if err := index.add(&p, rd.cur.pos); err != nil {
			return rd.fail(err)
		}
	}
	index.finish(rd.disks)
	a.stats = rd.stats
	return nil
}

// OVA returns what ova.xml says.
func (a *Archive) OVA() *OVA { return a.ova }

// Stats returns what the archive holds.
func (a *Archive) Stats() Stats { return a.stats }

// Images returns the disks of the archive, in their order.
func (a *Archive) Images() []*Image { return a.images }

// Image returns the disk whose VDI object has that id, nil when there is none.
func (a *Archive) Image(id string) *Image {
	for _, m := range a.images {
		if m.id == id {
			return m
		}
	}
	return nil
}

// Sources returns the disks by id, as [Write] and [Size] want them.
func (a *Archive) Sources() map[string]disk.Source {
	all := make(map[string]disk.Source, len(a.images))
	for _, m := range a.images {
		all[m.id] = m
	}
	return all
}
