package xapitest

import (
	"container/list"
	"crypto/rand"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

// database holds the objects of the pool. Every change advances its generation,
// by which event.from finds what is new: tables keep their rows in the order of
// their last change, so that a poll costs what changed, not what there is.
type database struct {
	mu         sync.Mutex
	tables     map[string]*table
	generation int64
	changed    chan struct{}        // closed, and replaced, at each change
	bulk       map[backset][]string // what inBulk has still to enter
}

// table holds the objects of one class.
type table struct {
	class   *class
	rows    map[string]*row
	uuids   map[string]string // uuid to ref
	order   *list.List        // of *row, the most recently changed last
	deleted []deletion        // ascending; the oldest are forgotten beyond maxDeletions
	lost    int64             // generation of the youngest one that was forgotten
}

type row struct {
	ref      string
	record   record
	created  int64
	modified int64
	place    *list.Element
}

type deletion struct {
	ref              string
	created, deleted int64
}

// maxDeletions bounds the memory of a pool that runs for months: a client that
// polls with a token older than so many deletions of one class gets EVENTS_LOST.
const maxDeletions = 100_000

func newDatabase() *database {
	db := &database{tables: make(map[string]*table), generation: 1, changed: make(chan struct{})}
	for name, c := range schema() {
		db.tables[name] = &table{class: c, rows: make(map[string]*row), uuids: make(map[string]string), order: list.New()}
	}
	return db
}

// tx gives access to the database while its lock is held. It must not be kept.
type tx struct{ db *database }

// update runs f under the lock. What f changed before it failed stays changed:
// check first, then change.
func (db *database) update(f func(tx tx) error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	before := db.generation
	err := f(tx{db})
	if db.generation != before {
		close(db.changed)
		db.changed = make(chan struct{})
	}
	return err
}

// record returns an object, or HANDLE_INVALID.
func (db *database) record(class, ref string) (record, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	return tx{db}.record(class, ref)
}

// set changes some fields of an object.
func (db *database) set(class, ref string, values record) error {
	return db.update(func(tx tx) error { return tx.set(class, ref, values) })
}

func (t tx) record(class, ref string) (record, error) {
	r, ok := t.db.tables[class].rows[ref]
	if !ok {
		return nil, handleInvalid(class, ref)
	}
	return r.record, nil
}

// all yields the objects of a class, in no order.
func (t tx) all(class string) iter.Seq2[string, record] {
	return func(yield func(string, record) bool) {
		for ref, r := range t.db.tables[class].rows {
			if !yield(ref, r.record) {
				return
			}
		}
	}
}

// create adds an object with a fresh reference, and a fresh uuid unless values
// has one.
func (t tx) create(class string, values record) string {
	table := t.db.tables[class]
	rec := newRecord(table.class, values)
	if rec.str("uuid") == "" {
		rec["uuid"] = newUUID()
	}
	t.derive(class, rec)
	t.db.generation++
	r := &row{ref: "OpaqueRef:" + newUUID(), record: rec, created: t.db.generation, modified: t.db.generation}
	r.place = table.order.PushBack(r)
	table.rows[r.ref] = r
	table.uuids[rec.str("uuid")] = r.ref
	t.link(class, r.ref, rec)
	return r.ref
}

// set changes some fields of an object and keeps the back references true.
func (t tx) set(class, ref string, values record) error {
	table := t.db.tables[class]
	r, ok := table.rows[ref]
	if !ok {
		return handleInvalid(class, ref)
	}
	t.db.generation++
	r.modified = t.db.generation
	table.order.MoveToBack(r.place)
	if t.db.bulk != nil {
		t.setInBulk(class, r, values)
		return nil
	}
	old := r.record
	next := maps.Clone(old)
	maps.Copy(next, values)
	t.derive(class, next)
	r.record = next
	t.relink(class, ref, old, next)
	t.touched(class, old, next)
	return nil
}

// destroy removes an object, and it from the back references.
func (t tx) destroy(class, ref string) error {
	table := t.db.tables[class]
	r, ok := table.rows[ref]
	if !ok {
		return handleInvalid(class, ref)
	}
	t.unlink(class, ref, r.record)
	delete(table.rows, ref)
	delete(table.uuids, r.record.str("uuid"))
	table.order.Remove(r.place)
	t.db.generation++
	table.deleted = append(table.deleted, deletion{ref, r.created, t.db.generation})
	if len(table.deleted) > maxDeletions {
		cut := len(table.deleted) - maxDeletions/2
		table.lost = table.deleted[cut-1].deleted
		table.deleted = slices.Clone(table.deleted[cut:])
	}
	return nil
}

// byUUID returns the reference of the object with that uuid, or UUID_INVALID.
func (t tx) byUUID(class, uuid string) (string, error) {
	ref, ok := t.db.tables[class].uuids[uuid]
	if !ok {
		return "", fail("UUID_INVALID", class, uuid)
	}
	return ref, nil
}

// byRefOrUUID accepts what the HTTP handlers accept for an object.
func (db *database) byRefOrUUID(class, id string) (string, record, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	t := tx{db}
	if !strings.HasPrefix(id, "OpaqueRef:") {
		ref, err := t.byUUID(class, id)
		if err != nil {
			return "", nil, err
		}
		id = ref
	}
	rec, err := t.record(class, id)
	return id, rec, err
}

// newUUID returns a random uuid (RFC 9562, version 4) in lower case.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
