package selector

import (
	"errors"
	"fmt"
)

// Selector chooses VMs. It is immutable.
type Selector struct {
	root   node     // nil for a list
	ids    []string // of a list
	listed map[string]bool
	opts   Options
}

// Options of a selector; nil is the zero value.
type Options struct {
	// Job is the id of the job, so that its own replicas are left out; "" knows none.
	Job string
	// ListedNoBackup backs up VMs tagged xo:no-bak when they are listed by id. Xen
	// Orchestra's manual promises that the tag always counts, and so it does by
	// default; its program heeds it for patterns alone.
	ListedNoBackup bool
}

// ErrNothing is returned for a selector without a pattern, a query or an id.
var ErrNothing = errors.New("selector: neither a pattern nor a query nor an id")

// ByPattern chooses the VMs that fit; where the pattern is a list of ids, it is [ByIDs].
func ByPattern(p *Pattern, opts *Options) (*Selector, error) {
	if p == nil || p.root == nil {
		return nil, ErrNothing
	}
	if ids, ok := p.IDs(); ok {
		return ByIDs(ids, opts)
	}
	return &Selector{root: p.root, opts: optionsOf(opts)}, nil
}

// ByQuery chooses the VMs that fit.
func ByQuery(q *Query, opts *Options) (*Selector, error) {
	if q == nil || q.root == nil {
		return nil, ErrNothing
	}
	return &Selector{root: q.root, opts: optionsOf(opts)}, nil
}

// ByIDs chooses the VMs with these uuids.
func ByIDs(ids []string, opts *Options) (*Selector, error) {
	if len(ids) == 0 {
		return nil, ErrNothing
	}
	s := &Selector{ids: distinct(ids), listed: map[string]bool{}, opts: optionsOf(opts)}
	for _, id := range s.ids {
		s.listed[id] = true
	}
	return s, nil
}

func optionsOf(opts *Options) Options {
	if opts == nil {
		return Options{}
	}
	return *opts
}

// Verdict is whether a VM is chosen, and why.
type Verdict struct {
	VM      VM
	In      bool
	Matched bool   // by the pattern, the query or the list: then only an exclusion keeps it out
	Reason  string // a clause: "power_state is "Halted", not "Running""
}

// String is the verdict in a sentence.
func (v Verdict) String() string {
	where := "out"
	if v.In {
		where = "in"
	}
	return fmt.Sprintf("%s is %s: %s", v.VM.called(), where, v.Reason)
}

// Explain says whether the VM is chosen, and why.
func (s *Selector) Explain(vm VM) Verdict {
	v := Verdict{VM: vm}
	v.Matched, v.Reason = s.matched(vm)
	if !v.Matched {
		return v
	}
	if reason := s.excluded(vm); reason != "" {
		v.Reason = reason
		return v
	}
	v.In = true
	return v
}

// Selects reports whether the VM is chosen.
func (s *Selector) Selects(vm VM) bool { return s.fits(vm) && s.excluded(vm) == "" }

// fits reports whether the VM matches, without the reason.
func (s *Selector) fits(vm VM) bool {
	if s.root == nil {
		return s.listed[vm.ID()]
	}
	return vm["type"] == "VM" && s.root.eval(map[string]any(vm)) == yes
}

func (s *Selector) matched(vm VM) (is bool, reason string) {
	if s.root == nil {
		if s.listed[vm.ID()] {
			return true, "it is listed"
		}
		return false, "it is not listed"
	}
	if reason := notVM(vm); reason != "" {
		return false, reason
	}
	value := map[string]any(vm)
	return s.root.eval(value) == yes, s.root.why("", value)
}

// excluded is why a VM that matches is left out; "" it is not.
func (s *Selector) excluded(vm VM) string {
	if reason := notVM(vm); reason != "" {
		return reason
	}
	if isReplicaOf(s.opts.Job, vm) {
		return "it is a replica that this job has made"
	}
	if reason, is := NoBackup(vm); is && (s.root != nil || !s.opts.ListedNoBackup) {
		if reason != "" {
			return fmt.Sprintf("it is tagged %s: %s", tagNoBackup, reason)
		}
		return "it is tagged " + tagNoBackup
	}
	return ""
}

// notVM is why only the type keeps it out; "" it does not.
func notVM(vm VM) string {
	if vm["type"] == "VM" {
		return ""
	}
	return isNot("type", property(map[string]any(vm), "type"), `not "VM"`)
}
