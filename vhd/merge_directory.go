package vhd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
)

// blockMover makes an oldest image complete that is kept as a directory. A block
// is moved by renaming its file: from then on it is in the oldest image alone,
// where readers of the youngest find it through the state. The table and the
// footer of the oldest say so at the end.
type blockMover struct {
	m     *merger
	into  *dirBlocks
	maker DirMaker

	table   bitmap   // of the blocks that there will be
	blocks  []uint32 // that the newer images hold, ascending
	present []bitmap // per image, of the files of blocks that are there; nil for one that is a file

	made      map[string]bool // directories of blocks that exist durably
	got, lost []string        // directories that files were renamed to and from since the last sync
	block     []byte          // bitmap and data
	bits      bitmap
}

// gatherInDirectory makes the oldest image complete and returns the size that
// it had as a file.
func (m *merger) gatherInDirectory(ctx context.Context) (size int64, err error) {
	d, err := m.newBlockMover(ctx)
	if err != nil {
		return 0, err
	}
	if err := m.begin(ctx); err != nil {
		return 0, err
	}
	if err := d.clearTail(ctx); err != nil {
		return 0, err
	}
	if err := d.moveBlocks(ctx); err != nil {
		return 0, err
	}
	if err := d.takeIdentity(ctx); err != nil {
		return 0, err
	}
	oldest := m.links[0]
	count := int64(0)
	for i := range d.entries() {
		if d.table.has(i) {
			count++
		}
	}
	entries := max(int64(oldest.header.MaxTableEntries), int64(d.entries()))
	return fileSizeOf(entries, count, oldest.bitmapLen+oldest.blockSize), nil
}

// newBlockMover checks that every block is where the tables say, or where an
// interrupted merge has put it. It changes nothing.
func (m *merger) newBlockMover(ctx context.Context) (*blockMover, error) {
	oldest, youngest := m.links[0], m.links[m.last()]
	maker, ok := m.dir.(DirMaker)
	if !ok {
		return nil, fmt.Errorf("%w: no directories can be made beside %s", ErrUnsupported, oldest.label())
	}
	d := &blockMover{
		m: m, into: oldest.source.(*dirBlocks), maker: maker, present: make([]bitmap, len(m.links)),
		made: make(map[string]bool), block: make([]byte, oldest.bitmapLen+oldest.blockSize), bits: make(bitmap, oldest.bitmapLen),
	}
	entries := int(divUp(youngest.Size(), oldest.blockSize))
	if entries > maxEntries {
		return nil, fmt.Errorf("%w: a disk of %d blocks", ErrUnsupported, entries)
	}
	d.table = make(bitmap, divUp(int64(entries), 8))
	for k, link := range m.links {
		blocks, ok := link.source.(*dirBlocks)
		if !ok {
			continue
		}
		var err error
		if d.present[k], _, err = blocks.listBlocks(ctx, entries); err != nil {
			return nil, err
		}
	}
	for i := range entries {
		if err := d.addBlock(i); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// addBlock notes a block that some image holds.
func (d *blockMover) addBlock(i int) error {
	k := d.top(i)
	if k == 0 && !d.m.links[0].HasBlock(i) {
		return nil
	}
	d.table.set(i, 1)
	if k > 0 {
		d.blocks = append(d.blocks, uint32(i))
	}
	if d.present[k] == nil || d.present[k].has(i) || d.isMoved(i, k) {
		return nil
	}
	return fmt.Errorf("block %d of %s: %w", i, d.m.links[k].label(), ErrIncomplete)
}

// top returns the youngest image that holds a block, 0 if no newer one does.
func (d *blockMover) top(i int) int {
	for k := d.m.last(); k > 0; k-- {
		if d.m.links[k].HasBlock(i) {
			return k
		}
	}
	return 0
}

// isMoved tells whether the block that the image k should hold was moved before.
func (d *blockMover) isMoved(i, k int) bool {
	return k > 0 && (d.m.result.Resumed || d.m.torn) && d.present[k] != nil && !d.present[k].has(i) && d.present[0].has(i)
}

func (d *blockMover) entries() int {
	return int(divUp(d.m.links[d.m.last()].Size(), d.m.links[0].blockSize))
}

// clearTail clears what lies beyond the end of the disk in the last block of the
// oldest image, which becomes visible when the disk grows.
func (d *blockMover) clearTail(ctx context.Context) error {
	oldest, youngest := d.m.links[0], d.m.links[d.m.last()]
	within, block := oldest.Size()%oldest.blockSize, int(oldest.Size()/oldest.blockSize)
	if within == 0 || youngest.Size() == oldest.Size() || !oldest.HasBlock(block) || d.top(block) > 0 {
		return nil
	}
	if err := d.into.load(block, d.block, &d.into.cache.Load().decoders); err != nil {
		return err
	}
	tail := d.block[oldest.bitmapLen+within:]
	if !slices.ContainsFunc(tail, func(b byte) bool { return b != 0 }) {
		return nil
	}
	clear(tail)
	return d.write(ctx, d.into.path(block), d.block)
}

// moveBlocks brings the blocks of the newer images into the oldest.
func (d *blockMover) moveBlocks(ctx context.Context) error {
	m := d.m
	size := m.links[0].blockSize
	total := int64(len(d.blocks)) * size
	done, pending := int64(0), int64(0)
	for _, block := range d.blocks {
		done += size
		k := d.top(int(block))
		if d.isMoved(int(block), k) {
			if err := d.verifyMoved(int(block), k); err != nil {
				return err
			}
			continue
		}
		if err := d.move(ctx, int(block), k); err != nil {
			return fmt.Errorf("block %d: %w", block, err)
		}
		pending += size
		m.result.Merged += size
		m.state.MergedDataSize = done
		m.progress(done, total)
		if pending >= m.checkpoint {
			if err := d.record(ctx, int64(block)+1); err != nil {
				return err
			}
			if err := m.writeState(ctx); err != nil {
				return err
			}
			pending = 0
		}
	}
	return d.record(ctx, int64(d.entries()))
}

// verifyMoved wants a whole block in the oldest image where the newer one has
// none any more, as long as nothing says that it was durable.
func (d *blockMover) verifyMoved(block, k int) error {
	if int64(block) < d.m.state.SyncedBlock {
		return nil
	}
	d.renamed(d.m.links[k].source.(*dirBlocks).path(block), d.into.path(block))
	return d.into.load(block, d.block, &d.into.cache.Load().decoders)
}

// move brings one block into the oldest image, from the image k or, where its
// block has gaps, from several.
func (d *blockMover) move(ctx context.Context, block, k int) error {
	from, whole, err := d.isWhole(block, k)
	if err != nil {
		return err
	}
	dst := d.into.path(block)
	if err := d.mkdir(ctx, path.Dir(dst)); err != nil {
		return err
	}
	if whole && from != nil && from.filter == d.into.filter {
		src := from.path(block)
		if err := d.m.may(ctx); err != nil {
			return err
		}
		d.renamed(src, dst)
		return d.m.dir.Rename(ctx, src, dst)
	}
	if err := d.combine(block, k); err != nil {
		return err
	}
	if err := d.write(ctx, dst, d.block); err != nil || from == nil {
		return err
	}
	// A block that is gone is one that was merged.
	d.renamed(from.path(block), dst)
	return d.m.remove(ctx, from.path(block))
}

// isWhole tells whether the image k holds all of a block as far as the youngest
// image reaches, and returns its blocks if it is a directory.
func (d *blockMover) isWhole(block, k int) (from *dirBlocks, whole bool, err error) {
	link, youngest := d.m.links[k], d.m.links[d.m.last()]
	from, _ = link.source.(*dirBlocks)
	end := min((int64(block)+1)*link.blockSize, youngest.Size())
	if link.Size() < end {
		return from, false, nil
	}
	if err := link.source.readBitmap(d.bits, block); err != nil {
		return from, false, err
	}
	return from, d.bits.allSet(youngest.sectorsIn(block)), nil
}

// combine puts into d.block what the images up to k hold of a block, the newest
// version of each sector. What none holds is zeros, which are data too if the
// oldest image has no parent.
func (d *blockMover) combine(block, k int) error {
	oldest := d.m.links[0]
	head, data := bitmap(d.block[:oldest.bitmapLen]), d.block[oldest.bitmapLen:]
	clear(d.block)
	for _, link := range d.m.links[:k+1] {
		if link.HasBlock(block) {
			if err := link.overlay(data, head, block); err != nil {
				return err
			}
		}
	}
	if sectors := d.m.links[d.m.last()].sectorsIn(block); oldest.Type() == Dynamic || head.allSet(sectors) {
		for i := range head {
			head[i] = 0xff
		}
	}
	return nil
}

// renamed notes what record has to sync.
func (d *blockMover) renamed(src, dst string) {
	d.got, d.lost = with(d.got, path.Dir(dst)), with(d.lost, path.Dir(src))
}

// with adds name to names unless it is there: blocks come in ascending order,
// so that few directories are.
func with(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}

// record makes durable what was moved.
func (d *blockMover) record(ctx context.Context, block int64) error {
	// The new names first: at no time a block has none that is durable.
	for _, name := range slices.Concat(d.got, d.lost) {
		if err := d.m.syncDir(ctx, name); err != nil {
			return err
		}
	}
	d.got, d.lost = nil, nil
	d.m.state.SyncedBlock, d.m.state.CurrentBlock = block, block
	return nil
}

// takeIdentity writes table, header and footer of the oldest image, which then
// is the youngest. Each is replaced atomically, and fits to those before it.
func (d *blockMover) takeIdentity(ctx context.Context) error {
	oldest := d.m.links[0]
	present, _, err := d.into.listBlocks(ctx, d.entries())
	if err != nil {
		return err
	}
	for i := range d.entries() {
		if d.table.has(i) && !present.has(i) {
			return fmt.Errorf("block %d of %s: %w", i, oldest.label(), ErrIncomplete)
		}
	}
	entries := int64(oldest.header.MaxTableEntries)
	if needed := int64(d.entries()); entries < needed {
		entries = needed
		var raw [headerSize]byte
		if err := d.into.readChunk("header", raw[:], 0); err != nil {
			return err
		}
		binary.BigEndian.PutUint32(raw[28:], uint32(entries))
		binary.BigEndian.PutUint32(raw[36:], checksum(raw[:], 36))
		if err := d.write(ctx, path.Join(d.into.root, "header"), raw[:]); err != nil {
			return err
		}
	}
	table := make(bitmap, max(min(entries, maxEntries), int64(len(d.table)))) // XO: a byte per block
	copy(table, d.table)
	if err := d.write(ctx, path.Join(d.into.root, tableFile), table); err != nil {
		return err
	}
	footer, youngest := oldest.footer, d.m.links[d.m.last()].footer
	footer.CurrentSize, footer.OriginalSize, footer.Geometry = youngest.CurrentSize, youngest.OriginalSize, youngest.Geometry
	footer.Timestamp, footer.UUID = youngest.Timestamp, youngest.UUID
	return d.write(ctx, path.Join(d.into.root, "footer"), footer.encode()[:])
}

// mkdir makes a directory for blocks.
func (d *blockMover) mkdir(ctx context.Context, name string) error {
	if d.made[name] {
		return nil
	}
	if err := d.m.may(ctx); err != nil {
		return err
	}
	if err := d.maker.MkdirAll(ctx, name); err != nil {
		return err
	}
	d.made[name] = true
	return nil
}

// write replaces a file of the oldest image, atomically and durably.
func (d *blockMover) write(ctx context.Context, name string, content []byte) error {
	data, err := encodeChunk(d.into.filter, content)
	if err != nil {
		return err
	}
	if err := d.m.may(ctx); err != nil {
		return err
	}
	return d.m.dir.WriteFile(ctx, name, data)
}

// listBlocks returns which of n blocks have a file, and how many files are
// none of them.
func (d *dirBlocks) listBlocks(ctx context.Context, n int) (present bitmap, strays int, err error) {
	present = make(bitmap, divUp(int64(n), 8))
	root := path.Join(d.root, "blocks")
	dirs, err := d.dir.List(ctx, root)
	if errors.Is(err, fs.ErrNotExist) {
		return present, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	for _, sub := range dirs {
		first, err := strconv.ParseUint(sub, 10, 32)
		if err != nil || strconv.FormatUint(first, 10) != sub {
			continue
		}
		names, err := d.dir.List(ctx, path.Join(root, sub))
		if err != nil {
			return nil, 0, err
		}
		for _, name := range names {
			within, err := strconv.ParseUint(name, 10, 32)
			if err != nil || strconv.FormatUint(within, 10) != name || within >= blocksPerDir {
				continue
			}
			if block := first*blocksPerDir + within; block < uint64(n) {
				present.set(int(block), 1)
			} else {
				strays++
			}
		}
	}
	return present, strays, nil
}

// verifyBlocks wants the file of every block that the table lists.
func (d *dirBlocks) verifyBlocks(ctx context.Context) error {
	present, _, err := d.listBlocks(ctx, d.blocks)
	if err != nil {
		return err
	}
	for i := range d.blocks {
		if d.bits.has(i) && !present.has(i) {
			return fmt.Errorf("block %d of %s: %w", i, d.name, ErrIncomplete)
		}
	}
	return nil
}
