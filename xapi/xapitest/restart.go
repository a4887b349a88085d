package xapitest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// RestartHost restarts the toolstack of a host: its connections are cut, for
// Options.RestartTime new ones are closed as soon as they are made, and what its
// tasks were at is cancelled. When the host is the master, all sessions and tasks
// of the pool are gone and the generation of events starts anew, so that tokens
// handed out before may be from the future. Virtual machines run on.
func (p *Pool) RestartHost(name string) error {
	i := p.hostNamed(name)
	if i < 0 {
		return fmt.Errorf("xapitest: no host named %q", name)
	}
	p.restart(i)
	return nil
}

// SetMaster makes another host the master, as an administrator or the high
// availability does: the toolstack of all hosts restarts, and the one that was
// the master refers its callers to the new one.
func (p *Pool) SetMaster(name string) error {
	i := p.hostNamed(name)
	if i < 0 {
		return fmt.Errorf("xapitest: no host named %q", name)
	}
	p.moveMaster(i)
	return nil
}

func (p *Pool) moveMaster(i int) {
	p.master.Store(&p.hosts[i])
	_ = p.db.set("pool", p.poolRef, record{"master": p.hosts[i]}) // it exists
	for i := range p.hosts {
		p.restart(i)
	}
}

func (p *Pool) restart(i int) {
	host := p.hosts[i]
	p.cancelAll(host)
	p.faults.releaseAll(false)
	p.doors[i].server.pause(p.options.RestartTime)
	if host == p.masterRef() {
		p.ExpireSessions() // before anybody who is cut can come back
	}
	p.doors[i].server.cut()
	if host == p.masterRef() {
		_ = p.db.update(func(tx tx) error {
			for ref := range tx.all("task") { // a database that is loaded has none
				_ = tx.destroy("task", ref) // it exists
			}
			tx.renumber()
			return nil
		})
	}
}

// cancelAll cancels the pending tasks of a host, whether something works on
// them or not.
func (p *Pool) cancelAll(host string) {
	for ref := range p.recordsWhere("task", func(t record) bool { return t.str("status") == "pending" && t.str("resident_on") == host }) {
		p.mu.Lock()
		run, ok := p.running[ref]
		if ok {
			run.cancelled = true
			run.cancel(errCancelled)
		}
		p.mu.Unlock()
		if !ok {
			p.completeTask(ref, "", errCancelled)
		}
	}
}

// renumber gives the objects new generations in their order, and forgets what
// was deleted.
func (t tx) renumber() {
	ranks := make(map[int64]int64)
	for _, table := range t.db.tables {
		table.deleted, table.lost = nil, 0
		for _, r := range table.rows {
			ranks[r.created], ranks[r.modified] = 0, 0
		}
	}
	for i, old := range slices.Sorted(maps.Keys(ranks)) {
		ranks[old] = int64(i + 1)
	}
	for _, table := range t.db.tables {
		for _, r := range table.rows {
			r.created, r.modified = ranks[r.created], ranks[r.modified]
		}
	}
	t.db.generation = int64(len(ranks))
	close(t.db.changed)
	t.db.changed = make(chan struct{})
}

// masterRef returns the host that is the master.
func (p *Pool) masterRef() string { return *p.master.Load() }

func (p *Pool) masterIndex() int { return slices.Index(p.hosts, p.masterRef()) }

// hostNamed returns the position of a host, or -1.
func (p *Pool) hostNamed(name string) int {
	return slices.IndexFunc(p.hosts, func(ref string) bool {
		h, err := p.db.record("host", ref)
		return err == nil && h.str("name_label") == name
	})
}

// hostIsSlave is what every host but the master answers to calls.
func (p *Pool) hostIsSlave() error {
	master, err := p.db.record("host", p.masterRef())
	if err != nil {
		return err
	}
	return fail("HOST_IS_SLAVE", strings.Trim(master.str("address"), "[]"))
}
