package selector

import (
	"cmp"
	"slices"
	"strings"
)

// VM is a VM, or what is listed beside them, in the shape of Xen Orchestra's
// objects. The package's manual lists the properties that are read.
type VM map[string]any

// ID is the uuid.
func (vm VM) ID() string {
	if id := vm.text("id"); id != "" {
		return id
	}
	return vm.text("uuid")
}

// Name is the name_label.
func (vm VM) Name() string { return vm.text("name_label") }

// Tags are the tags.
func (vm VM) Tags() []string {
	list, _ := elements(vm["tags"])
	var tags []string
	for _, v := range list {
		if tag, ok := v.(string); ok {
			tags = append(tags, tag)
		}
	}
	return tags
}

// Pool is the id of the pool.
func (vm VM) Pool() string { return vm.text("$pool") }

func (vm VM) text(key string) string {
	s, _ := vm[key].(string)
	return s
}

// called is the name, and the id to tell those of the same name apart.
func (vm VM) called() string {
	if vm.Name() == "" {
		return vm.ID()
	}
	return quote(vm.Name()) + " (" + vm.ID() + ")"
}

func byName(a, b VM) int { return cmp.Or(cmp.Compare(a.Name(), b.Name()), cmp.Compare(a.ID(), b.ID())) }

// Tags that Xen Orchestra gives to copies.
const (
	TagReplica  = "Continuous Replication"
	TagRecovery = "Disaster Recovery"
)

const tagNoBackup = "xo:no-bak"

// NoBackup reports whether the VM is tagged xo:no-bak or xo:no-bak=reason, and the
// reason.
func NoBackup(vm VM) (reason string, is bool) {
	for _, tag := range vm.Tags() {
		if name, reason, _ := strings.Cut(tag, "="); name == tagNoBackup {
			return reason, true
		}
	}
	return "", false
}

// NoBackupDisk reports whether a disk is left out of every backup because of its
// name_label: it contains [NOBAK].
func NoBackupDisk(nameLabel string) bool { return strings.Contains(nameLabel, "[NOBAK]") }

// isReplicaOf reports whether the VM is a copy that the job has made: it carries
// the id of the job, and its start is blocked. (Snapshots and the VM itself, after
// a restore, may carry the id too.)
func isReplicaOf(job string, vm VM) bool {
	_, blocked := property(vm["blockedOperations"], "start").(absent)
	return job != "" && property(vm["other"], "xo:backup:job") == job && !blocked
}

func sorted(vms []VM) []VM {
	slices.SortFunc(vms, byName)
	return vms
}
