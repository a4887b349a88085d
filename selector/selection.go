package selector

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Inventory is what is known at the moment of a selection.
type Inventory struct {
	VMs []VM
	// Pools are all that are configured, also those that are not connected.
	Pools []Pool
}

// Pool is one of an inventory.
type Pool struct {
	ID        string // as in $pool of its VMs; "" is not known, as long as it was never connected
	Name      string
	Connected bool // its VMs are in the inventory
}

func (p Pool) called() string {
	switch {
	case p.Name == "":
		return p.ID
	case p.ID == "":
		return quote(p.Name)
	}
	return quote(p.Name) + " (" + p.ID + ")"
}

// What a [SelectionError] is.
var (
	ErrNoMatch          = errors.New("selector: no VM matches")
	ErrVMMissing        = errors.New("selector: VM not found")
	ErrPoolNotConnected = errors.New("selector: pool not connected, its VMs are not known")
	ErrPoolUnknown      = errors.New("selector: the pattern names a pool that is not configured")
)

// SelectionError is something that a selection could not do. Err is one of ErrNoMatch,
// ErrVMMissing, ErrPoolNotConnected and ErrPoolUnknown.
type SelectionError struct {
	ID     string // of the VM or the pool; "" is about the whole
	Name   string // of the pool
	Detail string
	Err    error
}

// Error says what, about what.
func (p *SelectionError) Error() string {
	text := p.Err.Error()
	if p.ID != "" || p.Name != "" {
		text += ": " + Pool{ID: p.ID, Name: p.Name}.called()
	}
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	return text
}

// Unwrap gives Err.
func (p *SelectionError) Unwrap() error { return p.Err }

// Selection is what a selector has chosen.
type Selection struct {
	// VMs are those to back up: in the order of the list, or else by name.
	VMs []VM
	// Excluded are those that match, but are left out all the same, by name.
	Excluded []Verdict
	// Problems are what must not be passed over in silence.
	Problems []*SelectionError
}

// Err joins the problems; nil when there are none.
func (s *Selection) Err() error {
	var errs []error
	for _, p := range s.Problems {
		errs = append(errs, p)
	}
	return errors.Join(errs...)
}

// Select chooses from the inventory, and each id once. It does not change it.
func (s *Selector) Select(inv *Inventory) *Selection {
	found := &Selection{}
	var chosen []VM
	seen := map[string]bool{}
	for _, vm := range inv.VMs {
		if seen[vm.ID()] || !s.fits(vm) {
			continue
		}
		seen[vm.ID()] = true
		if reason := s.excluded(vm); reason != "" {
			found.Excluded = append(found.Excluded, Verdict{VM: vm, Matched: true, Reason: reason})
			continue
		}
		chosen = append(chosen, vm)
	}
	slices.SortFunc(found.Excluded, func(a, b Verdict) int { return byName(a.VM, b.VM) })
	found.VMs = s.inOrder(chosen)
	found.Problems = append(s.missing(inv, seen), s.pools(inv)...)
	if len(chosen) == 0 {
		found.Problems = append(found.Problems, noMatch(inv, found.Excluded))
	}
	return found
}

// inOrder sorts by name, or as listed.
func (s *Selector) inOrder(vms []VM) []VM {
	if s.root != nil {
		return sorted(vms)
	}
	rank := make(map[string]int, len(s.ids))
	for i, id := range s.ids {
		rank[id] = i
	}
	slices.SortStableFunc(vms, func(a, b VM) int { return rank[a.ID()] - rank[b.ID()] })
	return vms
}

// missing are the VMs of a list that nobody knows.
func (s *Selector) missing(inv *Inventory, seen map[string]bool) []*SelectionError {
	var apart []string
	for _, pool := range inv.Pools {
		if !pool.Connected {
			apart = append(apart, pool.called())
		}
	}
	var problems []*SelectionError
	for _, id := range s.ids {
		if seen[id] {
			continue
		}
		p := &SelectionError{ID: id, Err: ErrVMMissing}
		if len(apart) > 0 {
			p.Detail = "perhaps it is in a pool that is not connected: " + clauses(apart, ", ")
		}
		problems = append(problems, p)
	}
	return problems
}

func noMatch(inv *Inventory, excluded []Verdict) *SelectionError {
	p := &SelectionError{Err: ErrNoMatch}
	var reasons []string
	for _, v := range excluded {
		reasons = append(reasons, v.String())
	}
	if len(reasons) > 0 {
		p.Detail = "only " + clauses(reasons, "; ")
		return p
	}
	p.Detail = fmt.Sprintf("%d were looked at", len(inv.VMs))
	return p
}

// pools are those whose VMs would have to be looked at, but cannot. A list of ids is
// no concern here: it reports the VMs that are missing.
func (s *Selector) pools(inv *Inventory) []*SelectionError {
	if s.root == nil {
		return nil
	}
	var problems []*SelectionError
	known := map[string]bool{}
	for _, pool := range inv.Pools {
		known[pool.ID] = true
		if !pool.Connected && s.concerns(pool.ID) {
			problems = append(problems, &SelectionError{ID: pool.ID, Name: pool.Name, Err: ErrPoolNotConnected})
		}
	}
	for _, id := range namedPools(s.root, false) {
		if !known[id] && s.concerns(id) {
			problems = append(problems, &SelectionError{ID: id, Err: ErrPoolUnknown})
		}
	}
	return problems
}

// concerns reports whether a VM of the pool might be chosen, whatever its other
// properties are.
func (s *Selector) concerns(pool string) bool {
	vm := partial{"type": "VM"}
	if pool != "" {
		vm["$pool"], vm["$poolId"] = pool, pool
	}
	return s.root.eval(vm) != no
}

// namedPools are the ids that a pattern asks of $pool.
func namedPools(n node, inPool bool) []string {
	var ids []string
	each := func(nodes []node) {
		for _, child := range nodes {
			ids = append(ids, namedPools(child, inPool)...)
		}
	}
	switch n := n.(type) {
	case allOf:
		each(n)
	case *anyOf:
		each(n.nodes)
	case object:
		for _, m := range n {
			ids = append(ids, namedPools(m.child, strings.HasPrefix(m.key, "$pool"))...)
		}
	case scalar:
		if id, ok := n.value.(string); ok && inPool {
			return []string{id}
		}
	}
	return distinct(ids)
}
