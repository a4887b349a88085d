package vhd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
)

// RepairOptions are the options of [PlanRepair]; nil means the defaults.
type RepairOptions struct {
	// ForgetLost also makes steps for blocks of which nothing is in the file:
	// they are taken out of the table, and then read as zeros or as the parent
	// instead of failing. What they held is lost either way; afterwards nothing
	// tells that it is.
	ForgetLost bool
}

// RepairPlan is what [PlanRepair] would do to an image.
type RepairPlan struct {
	Name  string
	Steps []RepairStep // in the order in which they are to be done
	Left  []Finding    // warnings and damage that no step mends

	dir  Dir
	opts RepairOptions
}

// RepairStep is one change: bytes that are written to a file.
type RepairStep struct {
	Finding Finding // what it mends
	Text    string  // what it does
	File    string  // path in the Dir
	Offset  int64   // in the file; -1 if the whole file is replaced, atomically
	Data    []byte  // what is written
}

// PlanRepair examines an image and says what can be mended in it, and how. It
// changes nothing. Steps only write what is proven: a copy of the footer from the
// other one, a footer behind the last block, the byte that an old writer left
// out, the table of a directory from the files that are there. A step never writes
// over anything that may be content; what would need that is in
// [RepairPlan].Left.
//
// An image that an interrupted merge works on is [ErrMergeState]: [Merge] mends it.
// What Merge itself needs is mended nevertheless: the table of the oldest image,
// which XO does not replace atomically.
// Errors are those of [Check].
func PlanRepair(ctx context.Context, dir Dir, name string, opts *RepairOptions) (*RepairPlan, error) {
	if opts == nil {
		opts = &RepairOptions{}
	}
	report, err := Check(ctx, dir, name, nil)
	if err != nil {
		return nil, err
	}
	p := &RepairPlan{Name: name, dir: dir, opts: *opts}
	for _, f := range report.Findings {
		if f.Kind == FindMerge {
			return nil, fmt.Errorf("repair %s: %s: %w", name, f.Text, ErrMergeState)
		}
	}
	for _, f := range report.Findings {
		if f.Severity == Note {
			continue
		}
		step, err := p.step(ctx, f, report.Findings)
		if err != nil {
			return nil, fmt.Errorf("repair %s: %w", name, err)
		}
		if step == nil {
			p.Left = append(p.Left, f)
			continue
		}
		step.Finding = f
		p.Steps = append(p.Steps, *step)
	}
	// The table first: a footer at the end says that it is complete.
	slices.SortStableFunc(p.Steps, func(a, b RepairStep) int { return a.order() - b.order() })
	return p, nil
}

func (s *RepairStep) order() int {
	if s.Finding.Kind == FindEntry {
		return 0
	}
	return 1
}

// Apply does what the plan says, after proving that it still is what there is to
// do: otherwise nothing is changed, and the error is [ErrChanged]. Each step is
// durable before the next begins, and may be cut off anywhere: one sound footer
// is there at every moment, and a new plan has what is left. Nobody else may
// write to the image meanwhile.
func (p *RepairPlan) Apply(ctx context.Context) error {
	now, err := PlanRepair(ctx, p.dir, p.Name, &p.opts)
	if err != nil {
		return err
	}
	same := slices.EqualFunc(p.Steps, now.Steps, func(a, b RepairStep) bool {
		return a.File == b.File && a.Offset == b.Offset && bytes.Equal(a.Data, b.Data)
	})
	if !same {
		return fmt.Errorf("repair %s: %w", p.Name, ErrChanged)
	}
	for _, step := range p.Steps {
		if err := step.apply(ctx, p.dir); err != nil {
			return fmt.Errorf("repair %s: %s: %w", p.Name, step.Text, err)
		}
	}
	return nil
}

func (s *RepairStep) apply(ctx context.Context, dir Dir) (err error) {
	if s.Offset < 0 {
		return dir.WriteFile(ctx, s.File, s.Data)
	}
	f, err := dir.OpenRW(ctx, s.File)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(s.Data, s.Offset); err != nil {
		return err
	}
	return f.Sync()
}

// step returns what mends a finding, nil if nothing does.
func (p *RepairPlan) step(ctx context.Context, f Finding, all []Finding) (*RepairStep, error) {
	if f.Kind == FindTable {
		return p.tableStep(ctx)
	}
	if !f.Repairable && f.Kind != FindEntry && f.Kind != FindFooter {
		return nil, nil
	}
	target, err := resolveAlias(ctx, p.dir, p.Name)
	if err != nil {
		return nil, err
	}
	m, err := openDamaged(ctx, p.dir, target)
	if err != nil {
		return nil, err
	}
	step, err := p.fileStep(m, f, all)
	if step != nil {
		step.File = target
	}
	return step, errors.Join(err, m.Close())
}

func (p *RepairPlan) fileStep(m *Image, f Finding, all []Finding) (*RepairStep, error) {
	var raw [footerSize]byte
	switch f.Kind {
	case FindShortFooter:
		return &RepairStep{Text: "add the last byte of the footer", Offset: m.fileSize, Data: []byte{0}}, nil
	case FindFooterCopy, FindFootersDiffer:
		if err := m.readFull(raw[:min(footerSize, m.fileSize-m.dataEnd)], m.dataEnd, "footer"); err != nil {
			return nil, err
		}
		return &RepairStep{Text: "write the footer over its copy", Offset: 0, Data: raw[:]}, nil
	case FindFooter:
		if !p.mendsTable(m, all) {
			return nil, nil
		}
		if err := m.readFull(raw[:], 0, "footer copy"); err != nil {
			return nil, err
		}
		return &RepairStep{Text: "write the copy of the footer to the end", Offset: m.placeOfFooter(), Data: raw[:]}, nil
	case FindEntry:
		if p.opts.ForgetLost && m.isLost(f) {
			data := binary.BigEndian.AppendUint32(nil, unallocated)
			return &RepairStep{Text: "take the block out of the table", Offset: f.Offset, Data: data}, nil
		}
	}
	return nil, nil
}

// mendsTable tells whether no bad entry of the table is left: a footer would end
// up where a block still may be.
func (p *RepairPlan) mendsTable(m *Image, all []Finding) bool {
	return len(m.bad) == 0 || (p.opts.ForgetLost && len(m.bad) < maxFindings && !slices.ContainsFunc(all, func(f Finding) bool {
		return f.Kind == FindEntry && !m.isLost(f)
	}))
}

// isLost tells whether a block lies behind the end of the file altogether.
func (m *Image) isLost(f Finding) bool {
	return errors.Is(m.bad[uint32(f.Block)], errBeyondEnd) && int64(m.entry(int(f.Block)))*sectorSize >= m.fileSize
}

// placeOfFooter returns where a footer goes that is missing: in place of a
// damaged one if that is all that is behind the last block, and else behind
// everything.
func (m *Image) placeOfFooter() int64 {
	end := int64(0)
	for _, r := range m.structures() {
		end = max(end, r.to)
	}
	for b := range m.entries() {
		if _, bad := m.bad[b.index]; !bad {
			end = max(end, int64(b.sector)*sectorSize+m.bitmapLen+m.blockSize)
		}
	}
	if end = roundUp(end, sectorSize); end+footerSize == m.fileSize {
		return end
	}
	return roundUp(m.fileSize, sectorSize)
}

// tableStep makes the table of a directory anew from the files of its blocks, if
// all else is sound.
func (p *RepairPlan) tableStep(ctx context.Context) (*RepairStep, error) {
	root, err := resolveAlias(ctx, p.dir, p.Name)
	if err != nil {
		return nil, err
	}
	d := &dirBlocks{ctx: ctx, dir: p.dir, name: p.Name, root: root}
	d.cache.Store(new(chunkCache))
	blocks, entries, err := d.tableSize()
	if err != nil {
		if isProof(err) {
			err = nil // nothing says how long it should be
		}
		return nil, err
	}
	present, _, err := d.listBlocks(ctx, blocks)
	if err != nil {
		return nil, err
	}
	table := make(bitmap, max(entries, len(present)))
	copy(table, present)
	data, err := encodeChunk(d.filter, table)
	if err != nil {
		return nil, err
	}
	return &RepairStep{Text: "make the table anew from the files of the blocks", File: path.Join(root, tableFile), Offset: -1, Data: data}, nil
}

// tableSize returns how many blocks the disk has, and how many its table has room for.
func (d *dirBlocks) tableSize() (blocks, entries int, err error) {
	raw, err := d.readFooter()
	if err != nil {
		return 0, 0, err
	}
	f, err := parseFooter(raw)
	if err != nil {
		return 0, 0, err
	}
	var rawHeader [headerSize]byte
	if err := d.readChunk("header", rawHeader[:], 0); err != nil {
		return 0, 0, err
	}
	h, err := parseHeader(&rawHeader)
	if err != nil {
		return 0, 0, err
	}
	needed := divUp(f.CurrentSize, int64(h.BlockSize))
	if needed > int64(h.MaxTableEntries) || needed > maxEntries {
		return 0, 0, fmt.Errorf("a disk of %d blocks: %w", needed, ErrBAT)
	}
	return int(needed), int(min(int64(h.MaxTableEntries), maxEntries)), nil
}
