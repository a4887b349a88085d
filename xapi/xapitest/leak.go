package xapitest

import (
	"fmt"
	"slices"
)

// tempSnapshotName is the name of a snapshot while it is being made, as backup
// programs that follow Xen Orchestra give it.
const tempSnapshotName = "xo-backup-temp-snapshot-name"

// Leaks describes what a backup program should have cleaned up and what is
// still there: pending tasks, snapshots with the name of an unfinished one,
// VMs whose migration is blocked, disks attached to the control domain. It is
// empty when all is clean.
//
// What was cancelled is waited for, and a pending task that its client has
// destroyed is not the client's any more.
func (p *Pool) Leaks() []string {
	p.settle()
	var leaks []string
	for ref, task := range p.recordsWhere("task", func(t record) bool { return t.str("status") == "pending" && !doomed(t) }) {
		leaks = append(leaks, fmt.Sprintf("task %s (%s) is pending", ref, task.str("name_label")))
	}
	for _, vm := range p.recordsWhere("VM", func(record) bool { return true }) {
		if vm.str("name_label") == tempSnapshotName {
			leaks = append(leaks, fmt.Sprintf("snapshot %s is called %s", vm.str("uuid"), tempSnapshotName))
		}
		for _, op := range []string{"pool_migrate", "migrate_send"} {
			if _, blocked := vm.dict("blocked_operations")[op]; blocked {
				leaks = append(leaks, fmt.Sprintf("%s is blocked on vm %s", op, vm.str("uuid")))
			}
		}
		if vm.bool("is_control_domain") && len(vm.set("VBDs")) > 0 {
			leaks = append(leaks, fmt.Sprintf("%d disks are attached to %s", len(vm.set("VBDs")), vm.str("name_label")))
		}
	}
	slices.Sort(leaks)
	return leaks
}
