package torture_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

const (
	guestVM       = "5f3c3c1e-0000-4000-8000-00000000000a"
	guestJob      = "5f3c3c1e-0000-4000-8000-00000000000b"
	guestSchedule = "5f3c3c1e-0000-4000-8000-00000000000c"
	guestDir      = "xo-vm-backups/" + guestVM

	// reach is how many generations back a base is looked for.
	reach = 8
)

// guest is a VM whose disks hold, at each generation, what can be computed: so every
// process knows what a restore point must give, and nobody has to remember it.
type guest struct {
	Seed   uint64
	Disks  int
	Blocks int                // of 2 MiB, per disk
	Keep   int                // points that retention leaves
	Format catalog.DiskFormat // compression, which takes its time, is for other tests
	Rivals bool               // whoever held the lock may come back for what it wrote: it was stopped, or killed before its lock had a name
}

func (g guest) size() int64 { return int64(g.Blocks) * disk.BlockSize }

func (g guest) random(disk, block, generation int) *rand.Rand {
	return rand.New(rand.NewPCG(g.Seed, uint64(disk)<<48|uint64(block)<<32|uint64(generation)))
}

// changed tells whether the guest wrote to a block since the generation before.
func (g guest) changed(disk, block, generation int) bool {
	return g.random(disk, block, generation).IntN(3) == 0
}

// last is the generation in which the block got its content; 0 when it has none.
func (g guest) last(disk, block, generation int) int {
	for ; generation > 0 && !g.changed(disk, block, generation); generation-- {
	}
	return generation
}

// content fills a block as it is at a generation.
func (g guest) content(dst []byte, disk, block, generation int) {
	written := g.last(disk, block, generation)
	if written == 0 {
		clear(dst)
		return
	}
	const page = 4096
	random := g.random(disk, block, written)
	for i := 0; i < page; i += 8 {
		binary.LittleEndian.PutUint64(dst[i:], random.Uint64())
	}
	for i := page; i < len(dst); i += page {
		copy(dst[i:], dst[:page])
		dst[i]++
		dst[i+1] = byte(i / page)
	}
}

// blocks are those that differ between two generations.
func (g guest) blocks(disk, since, generation int) []uint32 {
	var found []uint32
	for b := range g.Blocks {
		if g.last(disk, b, generation) > since {
			found = append(found, uint32(b))
		}
	}
	return found
}

func guestDate(generation int) time.Time {
	return time.Date(2026, 1, 1, 0, generation, 0, 0, time.UTC)
}

func generationOf(p *catalog.Point) int {
	return int(p.Time().Sub(guestDate(0)) / time.Minute)
}

func guestDisk(disk int) string { return fmt.Sprintf("5f3c3c1e-0000-4000-8000-0000000001%02x", disk) }

func guestSnapshot(disk, generation int) string {
	return fmt.Sprintf("5f3c3c1e-0000-4000-8%03x-%012x", disk, generation)
}

func guestRef(disk int) string { return fmt.Sprint("OpaqueRef:", disk) }

// backup does what a job does for the VM: finish what was interrupted, back up,
// expire, merge. committed is called as soon as the point is acknowledged.
func (g guest) backup(ctx context.Context, fsys remote.Filesystem, generation int, committed func()) (err error) {
	c, err := catalog.Open(ctx, fsys, &catalog.Options{Format: g.Format, LockWait: time.Minute})
	if err != nil {
		return err
	}
	s, err := c.LockVM(ctx, guestVM)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	tidy := g.merge
	if generation%2 == 0 { // which does more than a job, and must be as safe
		tidy = clean
	}
	if err := tidy(ctx, s); err != nil {
		return err
	}
	if err := g.write(ctx, s, generation, nil); err != nil {
		return err
	}
	committed()
	if _, err := s.Expire(ctx, catalog.Retention{ScheduleID: guestSchedule, Keep: g.Keep}); err != nil {
		return err
	}
	return g.merge(ctx, s)
}

// merge puts the disks in order, and accepts nothing that is unclear but what
// rivals may come back for, and what is to be seen once more.
func (g guest) merge(ctx context.Context, s *catalog.Session) error {
	report, err := s.Merge(ctx, nil)
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(report.Left, func(f catalog.Finding) bool {
		return errors.Is(f.Err, catalog.ErrSeenOnce) || g.Rivals && errors.Is(f.Err, catalog.ErrHolderSilent)
	})
	if found := slices.Concat(report.Unknown, left); len(found) > 0 {
		return fmt.Errorf("merge: %v", found)
	}
	return nil
}

// clean looks further than merge, and accepts as little.
func clean(ctx context.Context, s *catalog.Session) error {
	plan, err := s.Clean(ctx, &catalog.CleanOptions{NoTrash: true})
	if err != nil {
		return err
	}
	if plan.Stopped {
		return fmt.Errorf("clean: %v", plan.Findings)
	}
	return nil
}

// write commits the point of a generation. between, if there is one, is called before
// every block, and before the commit.
func (g guest) write(ctx context.Context, s *catalog.Session, generation int, between func()) (err error) {
	w, err := s.NewPoint(ctx, catalog.PointSpec{JobID: guestJob, ScheduleID: guestSchedule, Time: guestDate(generation)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Abort(ctx)) }()
	meta := catalog.Metadata{
		VM:         json.RawMessage(`{"uuid":"` + guestVM + `","name_label":"guest","name_description":"","tags":[]}`),
		VMSnapshot: json.RawMessage(`{"suspend_VDI":"OpaqueRef:NULL"}`),
		VDIs:       map[string]json.RawMessage{},
	}
	if between == nil {
		between = func() {}
	}
	for d := range g.Disks {
		if err := g.writeDisk(ctx, s, w, d, generation, between); err != nil {
			return err
		}
		meta.VDIs[guestRef(d)] = fmt.Appendf(nil, `{"uuid":%q,"name_label":"disk %d","$snapshot_of$uuid":%q,"virtual_size":%d}`,
			guestSnapshot(d, generation), d, guestDisk(d), g.size())
	}
	between()
	_, err = w.Commit(ctx, meta)
	return err
}

func (g guest) writeDisk(ctx context.Context, s *catalog.Session, w *catalog.PointWriter, d, generation int, between func()) error {
	base, since, err := g.base(ctx, s, d, generation)
	if err != nil {
		return err
	}
	spec := catalog.DiskSpec{
		Ref: guestRef(d), SourceVDI: guestDisk(d), SnapshotVDI: guestSnapshot(d, generation),
		Size: g.size(), Blocks: g.blocks(d, since, generation), Base: base,
	}
	out, err := w.CreateDisk(ctx, spec)
	if err != nil {
		return err
	}
	block := make([]byte, disk.BlockSize)
	for _, b := range spec.Blocks {
		between()
		g.content(block, d, int(b), generation)
		if err := out.WriteBlock(b, block); err != nil {
			return err
		}
	}
	return out.Close()
}

// base is the newest snapshot of the disk that the repository has.
func (g guest) base(ctx context.Context, s *catalog.Session, d, generation int) (*catalog.Base, int, error) {
	for n := generation - 1; n > max(0, generation-reach); n-- {
		base, err := s.FindBase(ctx, guestJob, guestDisk(d), guestSnapshot(d, n))
		if err != nil || base != nil {
			return base, n, err
		}
	}
	return nil, 0, nil
}

// check reads every point that is listed, compares it with what the guest had, and
// returns their generations, oldest first.
func (g guest) check(ctx context.Context, fsys remote.Filesystem) ([]int, error) {
	c, err := catalog.Open(ctx, fsys, nil)
	if err != nil {
		return nil, err
	}
	var listed []int
	for p, err := range c.Points(ctx, guestVM) {
		if err != nil {
			return nil, err
		}
		listed = append(listed, generationOf(p))
		if n := len(c.Disks(p)); n != g.Disks {
			return nil, fmt.Errorf("%s has %d disks", p.ID, n)
		}
		for d := range g.Disks {
			if err := g.checkDisk(ctx, c, p, d); err != nil {
				return nil, fmt.Errorf("%s: disk %d: %w", p.ID, d, err)
			}
		}
	}
	return listed, nil
}

func (g guest) checkDisk(ctx context.Context, c *catalog.Catalog, p *catalog.Point, d int) (err error) {
	in, err := c.OpenDisk(ctx, p, guestRef(d))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if in.Size() != g.size() {
		return fmt.Errorf("%d bytes", in.Size())
	}
	got, want := make([]byte, disk.BlockSize), make([]byte, disk.BlockSize)
	for b := range g.Blocks {
		if n, err := in.ReadAt(got, int64(b)*disk.BlockSize); n < len(got) {
			return err
		}
		g.content(want, d, b, generationOf(p))
		if !bytes.Equal(got, want) {
			return fmt.Errorf("block %d has the wrong content", b)
		}
	}
	return nil
}
