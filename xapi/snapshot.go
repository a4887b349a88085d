package xapi

import "iter"

// A Snapshot is a pool at one instant: what one record says of another holds. It never changes, and neither may its records, which
// other snapshots share.
type Snapshot struct {
	VMs      Table[VM] // with snapshots, templates and the control domains
	VDIs     Table[VDI]
	VBDs     Table[VBD]
	SRs      Table[SR]
	PBDs     Table[PBD]
	Pools    Table[Pool] // one
	Hosts    Table[Host]
	Networks Table[Network]
	VIFs     Table[VIF]
	PIFs     Table[PIF]
}

// A Table holds the records of one class.
type Table[T any] struct {
	refs  map[Ref[T]]*T
	uuids map[string]Ref[T]
}

// Get returns a record, or nil when there is none.
func (t Table[T]) Get(ref Ref[T]) *T { return t.refs[ref] }

// ByUUID returns a record and its reference, or nil when there is none.
func (t Table[T]) ByUUID(uuid string) (Ref[T], *T) {
	ref := t.uuids[uuid]
	return ref, t.refs[ref]
}

// All yields the records in no order.
func (t Table[T]) All() iter.Seq2[Ref[T], *T] {
	return func(yield func(Ref[T], *T) bool) {
		for ref, record := range t.refs {
			if !yield(ref, record) {
				return
			}
		}
	}
}

// Len is the number of records.
func (t Table[T]) Len() int { return len(t.refs) }
