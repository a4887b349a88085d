package xapitest

// usage adds up what the disks of a repository take: their whole size where the
// driver reserves it and they are no snapshots, else what is allocated.
func (p *Pool) usage(sr string) (used, virtual int64) {
	var files []string
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
			if thick(rec.str("type")) && !vdi.bool("is_a_snapshot") {
				used += vdi.int("virtual_size")
			} else {
				files = append(files, vdi.str("uuid"))
			}
		}
		return nil
	})
	for _, uuid := range files {
		used += p.disks.allocated(uuid)
	}
	return used, virtual
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
func (p *Pool) accountDisk(ref, uuid string) {
	_ = p.db.set("VDI", ref, record{"physical_utilisation": p.disks.allocated(uuid)}) // it may be gone
	if vdi, err := p.db.record("VDI", ref); err == nil {
		p.accountSR(vdi.str("SR"))
	}
}
