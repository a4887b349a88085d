package xapitest

import (
	"cmp"
	"slices"
)

// UUID returns the uuid of the pool.
func (p *Pool) UUID() string {
	for _, pool := range p.recordsWhere("pool", func(record) bool { return true }) {
		return pool.str("uuid")
	}
	return ""
}

// SRs returns the storage repositories in the order of the inventory, then those
// that were made since.
func (p *Pool) SRs() []SRInfo {
	p.db.mu.Lock()
	defer p.db.mu.Unlock()
	var srs []SRInfo
	for _, r := range (tx{p.db}).inOrder("SR") {
		srs = append(srs, SRInfo{Name: r.record.str("name_label"), UUID: r.record.str("uuid"), Ref: r.ref})
	}
	return srs
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
