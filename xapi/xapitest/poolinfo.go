package xapitest

import (
	"cmp"
	"slices"
)

// PoolInfo identifies the pool and what it consists of.
type PoolInfo struct {
	Name  string
	UUID  string
	Hosts []string // uuids, the master first
	SRs   []SRInfo // in the order of the inventory, then as they were made
}

// Info returns the pool's identity and what it has besides its machines.
func (p *Pool) Info() PoolInfo {
	p.db.mu.Lock()
	defer p.db.mu.Unlock()
	var info PoolInfo
	master := null
	for _, r := range (tx{p.db}).inOrder("pool") {
		info.Name, info.UUID, master = r.record.str("name_label"), r.record.str("uuid"), r.record.str("master")
	}
	for _, r := range (tx{p.db}).inOrder("host") {
		if uuid := r.record.str("uuid"); r.ref == master {
			info.Hosts = slices.Insert(info.Hosts, 0, uuid)
		} else {
			info.Hosts = append(info.Hosts, uuid)
		}
	}
	for _, r := range (tx{p.db}).inOrder("SR") {
		info.SRs = append(info.SRs, SRInfo{Name: r.record.str("name_label"), UUID: r.record.str("uuid"), Ref: r.ref})
	}
	return info
}

// inOrder returns the objects of a class, oldest first.
func (t tx) inOrder(class string) []*row {
	var rows []*row
	for _, r := range t.db.tables[class].rows {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b *row) int { return cmp.Compare(a.created, b.created) })
	return rows
}
