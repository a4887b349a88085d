package remotetest

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
)

// Unsynced tells in which points the operations so far fall short of what a power
// cut asks for, one line each, sorted:
//
//	dir/name: renamed before its content was synced
//	dir/name: dir was not synced since it got this name
//	dir/name: written since it was last synced
//
// The first of them stays for ever, the others until the sync that was missing. A
// procedure that publishes files leaves none when it reports success. Temporary
// names of [remote.Create] and removals are not asked about; where
// [remote.Properties] promise StableMetadata, names need no sync.
func (t *Trace) Unsynced() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for name := range t.ledger.torn {
		out = append(out, name+": renamed before its content was synced")
	}
	for name := range t.ledger.dirty {
		if !remote.IsTemp(name) {
			out = append(out, name+": written since it was last synced")
		}
	}
	if !t.below.Properties().StableMetadata {
		for name, dirs := range t.ledger.names {
			for dir := range dirs {
				if !remote.IsTemp(name) {
					out = append(out, name+": "+dir+" was not synced since it got this name")
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// ledger knows what is not synced.
type ledger struct {
	dirty map[string]bool            // files written since their last sync
	torn  map[string]bool            // files renamed while dirty
	names map[string]map[string]bool // new names, and the directories to sync for them
}

func newLedger() ledger {
	return ledger{dirty: map[string]bool{}, torn: map[string]bool{}, names: map[string]map[string]bool{}}
}

// note enters an operation that succeeded.
func (l *ledger) note(o op) {
	switch o.kind {
	case Create, Write, Truncate:
		l.dirty[o.name] = true
		if o.kind == Create {
			l.names[o.name] = map[string]bool{path.Dir(o.name): true}
		}
	case Sync:
		delete(l.dirty, o.name)
	case Mkdir:
		l.names[o.name] = map[string]bool{path.Dir(o.name): true}
	case Rename:
		l.forget(o.to)
		if l.dirty[o.name] {
			l.torn[o.to] = true
		}
		l.move(o.name, o.to)
		l.names[o.to] = map[string]bool{path.Dir(o.name): true, path.Dir(o.to): true}
	case Remove, RemoveAll:
		l.forget(o.name)
	case SyncDir:
		for name, dirs := range l.names {
			delete(dirs, o.name)
			if len(dirs) == 0 {
				delete(l.names, name)
			}
		}
	}
}

// forget drops name and what was below it.
func (l *ledger) forget(name string) {
	gone := func(n string) bool { return n == name || strings.HasPrefix(n, name+"/") }
	maps.DeleteFunc(l.dirty, func(n string, _ bool) bool { return gone(n) })
	maps.DeleteFunc(l.names, func(n string, _ map[string]bool) bool { return gone(n) })
}

// move renames what is known about name and what is below it.
func (l *ledger) move(name, to string) {
	for n := range maps.Clone(l.dirty) {
		if rest, ok := strings.CutPrefix(n, name); ok && (rest == "" || rest[0] == '/') {
			delete(l.dirty, n)
			l.dirty[to+rest] = true
		}
	}
	for n, dirs := range maps.Clone(l.names) {
		if rest, ok := strings.CutPrefix(n, name+"/"); ok {
			delete(l.names, n)
			moved := map[string]bool{}
			for dir := range dirs {
				if below, ok := strings.CutPrefix(dir+"/", name+"/"); ok {
					dir = path.Join(to, below)
				}
				moved[dir] = true
			}
			l.names[to+"/"+rest] = moved
		}
	}
	delete(l.names, name)
}
