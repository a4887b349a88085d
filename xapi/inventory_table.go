package xapi

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
)

// tables are what an Inventory knows.
type tables struct {
	vms      cached[VM, *VM]
	vdis     cached[VDI, *VDI]
	vbds     cached[VBD, *VBD]
	srs      cached[SR, *SR]
	pbds     cached[PBD, *PBD]
	pools    cached[Pool, *Pool]
	hosts    cached[Host, *Host]
	networks cached[Network, *Network]
	vifs     cached[VIF, *VIF]
	pifs     cached[PIF, *PIF]
}

// byClass is keyed as events are, in lower case.
func (t *tables) byClass() map[string]table {
	all := make(map[string]table)
	for _, one := range []table{&t.vms, &t.vdis, &t.vbds, &t.srs, &t.pbds, &t.pools, &t.hosts, &t.networks, &t.vifs, &t.pifs} {
		all[strings.ToLower(one.class())] = one
	}
	return all
}

func (t *tables) lend() *Snapshot {
	return &Snapshot{
		VMs: t.vms.lend(), VDIs: t.vdis.lend(), VBDs: t.vbds.lend(), SRs: t.srs.lend(), PBDs: t.pbds.lend(), Pools: t.pools.lend(),
		Hosts: t.hosts.lend(), Networks: t.networks.lend(), VIFs: t.vifs.lend(), PIFs: t.pifs.lend(),
	}
}

// table is a cached of any class. Changes are collected until apply shows them; begin forgets what was collected.
type table interface {
	class() string
	len() int64
	begin()
	put(ref string, snapshot []byte, shared *interner) error
	remove(ref string)
	apply(fresh bool) (changed bool)
}

type cached[T any, P Record[T]] struct {
	Table[T]
	lent bool          // a snapshot has the maps: copy them before the next change
	news map[Ref[T]]*T // nil is a removal
}

func (c *cached[T, P]) class() string { return classOf[T, P]() }
func (c *cached[T, P]) len() int64    { return int64(len(c.refs)) }
func (c *cached[T, P]) begin()        { c.news = make(map[Ref[T]]*T) }

func (c *cached[T, P]) put(ref string, snapshot []byte, shared *interner) error {
	record := new(T)
	extra, _ := reflect.TypeAssert[*map[string]json.RawMessage](reflect.ValueOf(record).Elem().FieldByName("Extra").Addr())
	if err := decodeRecord(snapshot, P(record), extra, shared); err != nil {
		return err
	}
	c.news[Ref[T](ref)] = record
	return nil
}

func (c *cached[T, P]) remove(ref string) { c.news[Ref[T](ref)] = nil }

func (c *cached[T, P]) lend() Table[T] {
	c.lent = true
	return c.Table
}

// apply makes the collected changes. With fresh they are all there is.
func (c *cached[T, P]) apply(fresh bool) bool {
	switch {
	case fresh:
		c.Table, c.lent = Table[T]{make(map[Ref[T]]*T, len(c.news)), make(map[string]Ref[T], len(c.news))}, false
	case len(c.news) == 0:
		return false
	case c.lent:
		c.Table, c.lent = Table[T]{maps.Clone(c.refs), maps.Clone(c.uuids)}, false
	}
	for ref, record := range c.news {
		if old := c.refs[ref]; old != nil && c.uuids[uuidOf(old)] == ref {
			delete(c.uuids, uuidOf(old))
		}
		if delete(c.refs, ref); record != nil {
			c.refs[ref], c.uuids[uuidOf(record)] = record, ref
		}
	}
	c.news = nil
	return true
}

// uuidOf reads the field that every record has.
func uuidOf(record any) string { return reflect.ValueOf(record).Elem().FieldByName("UUID").String() }
