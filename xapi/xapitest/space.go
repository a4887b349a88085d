package xapitest

// usage adds up what the disks of a repository take: their whole size where the
// driver reserves it and they are no snapshots, else what is their own.
func (p *Pool) usage(sr string) (used, virtual int64) {
	var disks []occupant
	_ = p.db.update(func(tx tx) error { // only reads
		rec, err := tx.record("SR", sr)
		if err != nil {
			return err
		}
		for _, ref := range rec.set("VDIs") {
			vdi, err := tx.record("VDI", ref)
			if err != nil {
				continue
			}
			virtual += vdi.int("virtual_size")
			switch {
			case !vdi.bool("managed"):
				used += vdi.int("physical_utilisation")
			case thick(rec.str("type")) && !vdi.bool("is_a_snapshot"):
				used += vdi.int("virtual_size")
			default:
				disks = append(disks, tx.occupant(vdi))
			}
		}
		return nil
	})
	for _, d := range disks {
		used += p.disks.own(d)
	}
	return used, virtual
}

// occupant is a disk and what it shares with others.
type occupant struct {
	uuid   string
	shared int64 // bytes that its ancestors hold; negative: all
}

func (t tx) occupant(vdi record) occupant {
	o := occupant{uuid: vdi.str("uuid")}
	for _, ref := range t.chainOf(vdi) {
		if above, err := t.record("VDI", ref); err == nil {
			o.shared += above.int("physical_utilisation")
		}
	}
	if vdi.bool("is_a_snapshot") && vdi.dict("sm_config")[keyParent] != "" {
		o.shared = -1
	}
	return o
}

// own returns what is allocated to a disk beyond what it shares. Every disk is a
// file with all its content, so it is an estimate: what was written since.
func (s *diskStore) own(o occupant) int64 {
	if o.shared < 0 {
		return 0
	}
	return max(0, s.allocated(o.uuid)-o.shared)
}

func (p *Pool) ownSpace(ref string) int64 {
	var o occupant
	_ = p.db.update(func(tx tx) error { // only reads
		vdi, err := tx.record("VDI", ref)
		if err == nil {
			o = tx.occupant(vdi)
		}
		return err
	})
	return p.disks.own(o)
}

// freeSpace returns what a repository has left, or -1 when it is never full.
func (p *Pool) freeSpace(sr string) int64 {
	rec, err := p.db.record("SR", sr)
	if err != nil || rec.int("physical_size") == 0 {
		return -1
	}
	used, _ := p.usage(sr)
	return max(0, rec.int("physical_size")-used)
}

// accountSR brings the counters of a repository up to date. Where no limit makes
// them matter, that is left to SR.scan: it takes a look at every disk.
func (p *Pool) accountSR(sr string) {
	if p.freeSpace(sr) >= 0 {
		p.scanSR(sr)
	}
}

func (p *Pool) scanSR(sr string) {
	used, virtual := p.usage(sr)
	_ = p.db.set("SR", sr, record{"physical_utilisation": used, "virtual_allocation": virtual}) // it may be gone
}

// accountDisk does so for a disk whose content has changed, and its repository.
func (p *Pool) accountDisk(ref, _ string) {
	_ = p.db.set("VDI", ref, record{"physical_utilisation": p.ownSpace(ref)}) // it may be gone
	if vdi, err := p.db.record("VDI", ref); err == nil {
		p.accountSR(vdi.str("SR"))
	}
}
