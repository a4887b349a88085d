package xapitest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"os"
	"time"
)

// dataDestroyPatience is how long data_destroy waits for a disk to be free.
const dataDestroyPatience = 4 * time.Second

// cbtLog says where a disk is in the history of what it was snapshot from. What
// has changed is known from what was written; where somebody else has written
// the files, sums of all blocks are compared. They remain when the data of a
// snapshot is destroyed, as its version does.
type cbtLog struct {
	Lineage  string   `json:"lineage"`  // since tracking was enabled
	Position int      `json:"position"` // grows with every snapshot
	Sums     []uint64 `json:"sums,omitempty"`

	since *version // of a disk whose data is destroyed
}

func (p *Pool) cbtMethods() map[string]*method {
	return map[string]*method{
		"VDI.enable_cbt":          both("self:ref", p.vdiEnableCBT),
		"VDI.disable_cbt":         both("self:ref", p.vdiDisableCBT),
		"VDI.data_destroy":        both("self:ref", p.vdiDataDestroy),
		"VDI.list_changed_blocks": both("vdi_from:ref vdi_to:ref", p.vdiListChangedBlocks),
	}
}

// vdiEnableCBT starts a history, unless there is one.
func (p *Pool) vdiEnableCBT(_ context.Context, c *call) (any, error) {
	vdi, err := p.trackable(c.str(0))
	if err != nil || vdi.bool("cbt_enabled") {
		return nil, err
	}
	p.disks.setLog(vdi.str("uuid"), &cbtLog{Lineage: newUUID()})
	return nil, p.db.set("VDI", c.str(0), record{"cbt_enabled": true})
}

func (p *Pool) vdiDisableCBT(_ context.Context, c *call) (any, error) {
	vdi, err := p.trackable(c.str(0))
	if err != nil || !vdi.bool("cbt_enabled") {
		return nil, err
	}
	p.disks.setLog(vdi.str("uuid"), nil)
	return nil, p.db.set("VDI", c.str(0), record{"cbt_enabled": false})
}

// trackable returns a disk whose tracking may be switched.
func (p *Pool) trackable(ref string) (vdi record, err error) {
	err = p.db.update(func(tx tx) error {
		if err := tx.hasData(ref); err != nil {
			return err
		}
		vdi, err = tx.record("VDI", ref)
		if err != nil {
			return err
		}
		if vdi.bool("is_a_snapshot") {
			return fail("OPERATION_NOT_ALLOWED", "VDI is a snapshot: "+ref)
		}
		if !tx.isChained(vdi) {
			return fail("SR_OPERATION_NOT_SUPPORTED", vdi.str("SR"))
		}
		return nil
	})
	return vdi, err
}

// hasData fails for a disk of which only metadata is left.
func (t tx) hasData(ref string) error {
	vdi, err := t.record("VDI", ref)
	if err == nil && vdi.str("type") == "cbt_metadata" {
		return fail("VDI_INCOMPATIBLE_TYPE", ref, "cbt_metadata")
	}
	return err
}

// vdiDataDestroy leaves of a snapshot only what list_changed_blocks needs.
func (p *Pool) vdiDataDestroy(ctx context.Context, c *call) (any, error) {
	ref := c.str(0)
	return nil, p.during(ctx, c, "VDI", ref, "data_destroy", func() error {
		vdi, err := p.db.record("VDI", ref)
		switch {
		case err != nil:
			return err
		case vdi.str("type") == "cbt_metadata":
			return nil
		case !vdi.bool("is_a_snapshot"):
			return fail("OPERATION_NOT_ALLOWED", "VDI is not a snapshot: "+ref)
		case !vdi.bool("cbt_enabled"):
			return fail("VDI_NO_CBT_METADATA", ref)
		}
		if err := p.unlinked(ctx, ref); err != nil {
			return err
		}
		if err := p.disks.remember(ctx, vdi); err != nil {
			return err
		}
		if err := p.db.set("VDI", ref, record{
			"type": "cbt_metadata", "sm_config": drop(vdi.dict("sm_config"), keyParent), "physical_utilisation": int64(0),
		}); err != nil {
			return err
		}
		p.coalesce(vdi.str("SR"))
		p.accountSR(vdi.str("SR"))
		return p.disks.remove(vdi.str("uuid"))
	})
}

// unlinked waits a moment until no VBD has a disk any more.
func (p *Pool) unlinked(ctx context.Context, ref string) error {
	timer := time.NewTimer(dataDestroyPatience)
	defer timer.Stop()
	for {
		var changed chan struct{}
		free := false
		if err := p.db.update(func(tx tx) error {
			vdi, err := tx.record("VDI", ref)
			changed, free = tx.db.changed, len(vdi.set("VBDs")) == 0
			return err
		}); err != nil || free {
			return err
		}
		select {
		case <-changed:
		case <-timer.C:
			return fail("VDI_IN_USE", ref, "data_destroy")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// vdiListChangedBlocks compares two moments of one disk: one bit for each 64 KiB
// of the later one, most significant first, as base64.
func (p *Pool) vdiListChangedBlocks(ctx context.Context, c *call) (any, error) {
	from, to := c.str(0), c.str(1)
	for _, ref := range []string{from, to} {
		if err := p.db.update(func(tx tx) error { return tx.comparable(ref) }); err != nil {
			return nil, err
		}
	}
	older, err := p.db.record("VDI", from)
	if err != nil {
		return nil, err
	}
	newer, err := p.db.record("VDI", to)
	if err != nil {
		return nil, err
	}
	first, second := p.disks.log(older.str("uuid")), p.disks.log(newer.str("uuid"))
	if from == to || first == nil || second == nil || first.Lineage != second.Lineage || first.Position >= second.Position ||
		older.int("virtual_size") > newer.int("virtual_size") {
		return nil, fail("SR_BACKEND_FAILURE_460", "", "Failed to calculate changed blocks for given VDIs. [opterr=Source and target VDI are unrelated]", "")
	}
	has, err := p.disks.changedSince(ctx, older, newer)
	if err != nil {
		return nil, err
	}
	blocks := int((newer.int("virtual_size") + trackedBlock - 1) / trackedBlock)
	bits := make([]byte, (blocks+7)/8)
	for i := range blocks {
		if has(i) {
			bits[i/8] |= 0x80 >> (i % 8)
		}
	}
	return base64.StdEncoding.EncodeToString(bits), nil
}

// changedSince says of each tracked block whether it has changed.
func (s *diskStore) changedSince(ctx context.Context, older, newer record) (has func(i int) bool, err error) {
	if changes, ok := s.tracked(newer.str("uuid"), older.str("uuid")); ok {
		return changes.has, nil
	}
	before, err := s.sums(ctx, older)
	if err != nil {
		return nil, err
	}
	after, err := s.sums(ctx, newer)
	if err != nil {
		return nil, err
	}
	return func(i int) bool { return i >= len(before) && after[i] != 0 || i < len(before) && after[i] != before[i] }, nil
}

// remember keeps of a disk whose data will be destroyed what is needed to tell
// what has changed since.
func (s *diskStore) remember(ctx context.Context, vdi record) error {
	if _, err := s.sums(ctx, vdi); err != nil {
		return err
	}
	c, err := s.disk(vdi.str("uuid"))
	if err != nil {
		return err
	}
	since, written, exact := c.unchanged()
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[vdi.str("uuid")]; ok && exact && written.empty() {
		l.since = since
	}
	return nil
}

// comparable fails for a disk without tracking, and for one that is attached to
// a VM that could write it.
func (t tx) comparable(ref string) error {
	vdi, err := t.record("VDI", ref)
	if err != nil {
		return err
	}
	if !vdi.bool("cbt_enabled") {
		return fail("VDI_NO_CBT_METADATA", ref)
	}
	for _, vbd := range vdi.set("VBDs") {
		if v, err := t.record("VBD", vbd); err == nil && v.bool("currently_attached") {
			return fail("VDI_IN_USE", ref, "list_changed_blocks")
		}
	}
	return nil
}

func (s *diskStore) log(uuid string) *cbtLog {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[uuid]; ok {
		copied := *l
		return &copied
	}
	return nil
}

// setLog sets the history of a disk; nil forgets it.
func (s *diskStore) setLog(uuid string, l *cbtLog) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l == nil {
		delete(s.logs, uuid)
		return
	}
	s.logs[uuid] = l
}

// branch gives a snapshot its place in the history of its origin. It returns
// false when that has none.
func (s *diskStore) branch(origin, snapshot string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.logs[origin]
	if !ok {
		return false
	}
	s.logs[snapshot] = &cbtLog{Lineage: l.Lineage, Position: l.Position}
	l.Position++
	return true
}

// sums returns a sum of each tracked block of a disk, 0 for zeros. Those of a
// snapshot are kept, also when its data is destroyed.
func (s *diskStore) sums(ctx context.Context, vdi record) ([]uint64, error) {
	uuid := vdi.str("uuid")
	if l := s.log(uuid); l != nil && l.Sums != nil {
		return l.Sums, nil
	}
	f, err := s.open(uuid)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	sums, err := s.sumFile(ctx, f, vdi.int("virtual_size"))
	if err != nil || !vdi.bool("is_a_snapshot") {
		return sums, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.logs[uuid]; ok {
		l.Sums = sums
	}
	return sums, nil
}

func (s *diskStore) sumFile(ctx context.Context, f *os.File, size int64) ([]uint64, error) {
	buf, zero := s.buffer(), s.buffer()
	defer s.give(buf)
	defer s.give(zero)
	clear(zero[:])
	sums := make([]uint64, (size+trackedBlock-1)/trackedBlock)
	err := eachBlock(ctx, size, f, func(_ uint32, off, n int64) error {
		clear(buf[n:]) // the last block counts as filled up with zeros
		if err := readFull(f, buf[:n], off); err != nil {
			return err
		}
		for at := int64(0); at < n; at += trackedBlock {
			part := buf[at : at+trackedBlock]
			if !bytes.Equal(part, zero[:trackedBlock]) {
				sum := sha256.Sum256(part)
				sums[(off+at)/trackedBlock] = binary.BigEndian.Uint64(sum[:]) | 1
			}
		}
		return nil
	})
	return sums, err
}
