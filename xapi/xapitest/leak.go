package xapitest

import (
	"fmt"
	"slices"
	"strings"
)

// tempSnapshotName is the name of a snapshot while it is being made, as backup
// programs that follow Xen Orchestra give it.
const tempSnapshotName = "xo-backup-temp-snapshot-name"

// Keys of other_config with which backup programs that follow Xen Orchestra mark
// the snapshots that are the base of the next increment.
const (
	keyJob      = "xo:backup:job"
	keyVM       = "xo:backup:vm"
	keyExported = "xo:backup:exported"
)

// Leaks describes what a backup program should have cleaned up and what is
// still there: pending tasks, snapshots with the name of an unfinished one,
// VMs whose migration is blocked, disks attached to the control domain, more
// than one exported base snapshot of a VM and job. It is empty when all is clean
// but for what [Pool.Expect] was told of.
//
// What was cancelled is waited for, and a pending task that its client has
// destroyed is not the client's any more.
func (p *Pool) Leaks() []string {
	p.settle()
	var leaks []string
	for ref, task := range p.recordsWhere("task", func(t record) bool { return t.str("status") == "pending" && !doomed(t) }) {
		leaks = append(leaks, fmt.Sprintf("task %s (%s) is pending", ref, task.str("name_label")))
	}
	bases := make(map[[2]string]int)
	for _, vm := range p.recordsWhere("VM", func(record) bool { return true }) {
		if vm.str("name_label") == tempSnapshotName {
			leaks = append(leaks, fmt.Sprintf("snapshot %s is called %s", vm.str("uuid"), tempSnapshotName))
		}
		for _, op := range []string{"pool_migrate", "migrate_send"} {
			if _, blocked := vm.dict("blocked_operations")[op]; blocked {
				leaks = append(leaks, blockedLeak(op, vm.str("uuid")))
			}
		}
		if vm.bool("is_control_domain") && len(vm.set("VBDs")) > 0 {
			leaks = append(leaks, fmt.Sprintf("%d disks are attached to %s", len(vm.set("VBDs")), vm.str("name_label")))
		}
		if config := vm.dict("other_config"); vm.bool("is_a_snapshot") && config[keyExported] == "true" && config[keyJob] != "" {
			bases[[2]string{config[keyVM], config[keyJob]}]++
		}
	}
	for base, n := range bases {
		if n > 1 {
			leaks = append(leaks, fmt.Sprintf("%d exported base snapshots of vm %s for job %s", n, base[0], base[1]))
		}
	}
	slices.Sort(leaks)
	return p.unexpected(leaks)
}

func blockedLeak(op, vm string) string { return fmt.Sprintf("%s is blocked on vm %s", op, vm) }

// Expect says that a leak whose description contains one of the texts is meant
// to be: [Pool.Leaks] and Close do not mind it. "" stands for all. A job that
// keeps snapshots by its retention has to expect "exported base snapshots".
func (p *Pool) Expect(leaks ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = append(p.expected, leaks...)
}

// unexpected drops the leaks that Expect was told of.
func (p *Pool) unexpected(leaks []string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(leaks, func(leak string) bool {
		return slices.ContainsFunc(p.expected, func(text string) bool { return strings.Contains(leak, text) })
	})
}
