package vhd

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// gatherInFile makes an oldest image that is a file complete, and returns its size.
func (m *merger) gatherInFile(ctx context.Context) (size int64, err error) {
	p, err := m.place()
	if err != nil {
		return 0, err
	}
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	if err := m.grow(ctx, p); err != nil {
		return 0, err
	}
	if err := m.copyBlocks(ctx, p); err != nil {
		return 0, err
	}
	return p.end + footerSize, m.takeIdentity(ctx, p)
}

// copyBlocks copies what the newer images hold, from where the last durable
// record says it got to.
func (m *merger) copyBlocks(ctx context.Context, p *placement) (err error) {
	oldest := m.links[0]
	c := &blockCopy{
		m: m, p: p, buf: make([]byte, oldest.bitmapLen+oldest.blockSize), bits: make(bitmap, oldest.bitmapLen),
		full: bytes.Repeat([]byte{0xff}, int(oldest.bitmapLen)), pairs: make([]*filePair, len(m.links)), shared: &copyBuffers{chunk: mergeChunk},
	}
	c.group.SetLimit(mergeWorkers)
	defer func() { err = cmp.Or(err, c.group.Wait()) }()
	total := int64(len(p.blocks)) * oldest.blockSize
	done, pending, first := int64(0), int64(0), -1
	for _, block := range p.blocks {
		done += oldest.blockSize
		if int64(block) < m.state.SyncedBlock {
			continue
		}
		if first < 0 {
			first = int(block)
		}
		if err := c.copy(ctx, int(block)); err != nil {
			return fmt.Errorf("block %d: %w", block, err)
		}
		pending += oldest.blockSize
		m.result.Merged += oldest.blockSize
		m.state.MergedDataSize = done
		m.progress(done, total)
		if pending >= m.checkpoint {
			if err := c.group.Wait(); err != nil {
				return err
			}
			if err := m.record(ctx, p, first, int(block)+1); err != nil {
				return err
			}
			if err := m.writeState(ctx); err != nil {
				return err
			}
			pending, first = 0, -1
		}
	}
	if first < 0 {
		return nil
	}
	if err := c.group.Wait(); err != nil {
		return err
	}
	return m.record(ctx, p, first, len(p.table))
}

// record makes the data of the blocks [from, to) durable, and then their entries.
func (m *merger) record(ctx context.Context, p *placement, from, to int) error {
	if err := m.sync(ctx); err != nil {
		return err
	}
	if err := m.writeEntries(ctx, p.table, from, to); err != nil {
		return err
	}
	if err := m.sync(ctx); err != nil {
		return err
	}
	m.state.SyncedBlock, m.state.CurrentBlock = int64(to), int64(to)
	return nil
}

// mergeWorkers is how many blocks are copied at a time: one is read while another
// is written.
const mergeWorkers = 2

// blockCopy holds the buffers of copyBlocks.
type blockCopy struct {
	m    *merger
	p    *placement
	buf  []byte // bitmap and data, as in the file
	bits bitmap // the sectors that data holds

	full   []byte      // the bitmap of a block that lacks nothing
	pairs  []*filePair // per image, from it to the oldest, once it was needed
	shared *copyBuffers
	group  errgroup.Group // copies whole blocks
}

// copy brings one block into the oldest image, of each sector the newest version.
func (c *blockCopy) copy(ctx context.Context, block int) error {
	oldest := c.m.links[0]
	from, err := c.wholeIn(block)
	if err != nil {
		return err
	}
	if from > 0 {
		return c.copyWhole(ctx, block, from)
	}
	if err := c.gather(block); err != nil {
		return err
	}
	at := int64(c.p.table[block]) * sectorSize
	head, data := c.buf[:oldest.bitmapLen], c.buf[oldest.bitmapLen:]
	youngest := c.m.links[c.m.last()]
	if c.bits.allSet(youngest.sectorsIn(block)) {
		for i := range head {
			head[i] = 0xff
		}
		return c.m.write(ctx, c.buf, at)
	}
	if !oldest.HasBlock(block) || oldest.table[block] != c.p.table[block] {
		copy(head, c.bits)
		return c.m.write(ctx, c.buf, at)
	}
	own, err := oldest.bitmapOf(block)
	if err != nil {
		return err
	}
	for i := range head {
		head[i] = 0xff
		if own != nil {
			head[i] = own[i] | c.bits[i]
		}
	}
	sectors := youngest.sectorsIn(block)
	for s := 0; s < sectors; {
		set, n := c.bits.run(s, sectors)
		if set {
			if err := c.m.write(ctx, data[s*sectorSize:(s+n)*sectorSize], at+oldest.bitmapLen+int64(s)*sectorSize); err != nil {
				return err
			}
		}
		s += n
	}
	return c.m.write(ctx, head, at)
}

// wholeIn returns the newest image that holds a block if that is a file with all
// of its sectors, else 0.
func (c *blockCopy) wholeIn(block int) (int, error) {
	k := c.m.last()
	for !c.m.links[k].HasBlock(block) {
		k--
	}
	link := c.m.links[k]
	if c.m.files[k] == nil || link.Size() < (int64(block)+1)*link.blockSize {
		return 0, nil
	}
	bits, err := link.bitmapOf(block)
	if err != nil || bits != nil {
		return 0, err
	}
	return k, nil
}

// copyWhole copies a block that one image holds completely, by the best way
// that its file and that of the oldest allow.
func (c *blockCopy) copyWhole(ctx context.Context, block, from int) error {
	link, oldest := c.m.links[from], c.m.links[0]
	if c.pairs[from] == nil {
		c.pairs[from] = newFilePair(c.m.files[0], c.m.files[from], c.shared)
	}
	if err := c.m.may(ctx); err != nil {
		return err
	}
	pair, at := c.pairs[from], int64(c.p.table[block])*sectorSize
	source := int64(link.entry(block))*sectorSize + link.bitmapLen
	copyBlock := func() error {
		if _, err := c.m.files[0].WriteAt(c.full, at); err != nil {
			return err
		}
		return pair.copy(ctx, at+oldest.bitmapLen, source, oldest.blockSize)
	}
	if !pair.local() {
		return copyBlock()
	}
	c.group.Go(copyBlock)
	return nil
}

// gather puts what the newer images hold of a block into buf and bits, oldest
// first so that newer sectors win. All else is zeros.
func (c *blockCopy) gather(block int) error {
	clear(c.buf)
	clear(c.bits)
	for _, link := range c.m.links[1:] {
		if link.HasBlock(block) {
			if err := link.overlay(c.buf[c.m.links[0].bitmapLen:], c.bits, block); err != nil {
				return err
			}
		}
	}
	return nil
}

// overlay puts the sectors of a block that the image holds over those in data,
// and marks them in bits.
func (m *Image) overlay(data []byte, bits bitmap, block int) error {
	start := int64(block) * m.blockSize
	end := min(start+m.blockSize, m.Size())
	for at := start; at < end; {
		set, n, err := m.run(at, end-at)
		if err != nil {
			return err
		}
		if set {
			if err := m.readData(data[at-start:at-start+n], at); err != nil {
				return err
			}
			bits.set(int(at-start)/sectorSize, int(divUp(n, sectorSize)))
		}
		at += n
	}
	return nil
}

// fileSizeOf returns the size of a file with a table of entries and so many
// blocks, without gaps. whole is the bytes of a block with its bitmap.
func fileSizeOf(entries, blocks, whole int64) int64 {
	return footerSize + headerSize + batSize(entries) + blocks*whole + footerSize
}

// asFileSize returns the size of the file, or what it would be for a directory.
func (m *Image) asFileSize() int64 {
	if _, ok := m.source.(*dirBlocks); ok {
		return fileSizeOf(int64(m.header.MaxTableEntries), int64(m.allocated), m.bitmapLen+m.blockSize)
	}
	return m.fileSize
}

// writeEntries writes the entries [from, to) of the table.
func (m *merger) writeEntries(ctx context.Context, table bat, from, to int) error {
	raw := make([]byte, 0, 4*(to-from))
	for _, sector := range table[from:to] {
		raw = binary.BigEndian.AppendUint32(raw, sector)
	}
	return m.write(ctx, raw, int64(m.links[0].header.TableOffset)+4*int64(from))
}

// writeFooters replaces both copies, the one at the end first. Between the
// syncs one of them is whole.
func (m *merger) writeFooters(ctx context.Context, footer *Footer, end int64) error {
	raw := footer.encode()
	for _, off := range []int64{end, 0} {
		if err := m.write(ctx, raw[:], off); err != nil {
			return err
		}
		if err := m.sync(ctx); err != nil {
			return err
		}
	}
	return nil
}

// write changes the oldest image.
func (m *merger) write(ctx context.Context, b []byte, off int64) error {
	if err := m.may(ctx); err != nil {
		return err
	}
	_, err := m.files[0].WriteAt(b, off)
	return err
}

func (m *merger) sync(ctx context.Context) error {
	if err := m.may(ctx); err != nil {
		return err
	}
	return m.files[0].Sync()
}
