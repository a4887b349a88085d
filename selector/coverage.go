package selector

// Job is one that protects what it selects.
type Job struct {
	Name     string
	Selector *Selector
	Disabled bool // it protects nothing
}

// Unprotected is a VM that no job backs up.
type Unprotected struct {
	VM VM
	// Intended: the VM is tagged xo:no-bak, or as a copy made by Xen Orchestra.
	Intended bool
	// Reasons say why, for each job.
	Reasons []string
}

// Coverage lists the VMs that no job protects, by name; snapshots, templates and
// control domains are no VMs.
func Coverage(vms []VM, jobs []Job) []Unprotected {
	var open []VM
	for _, vm := range vms {
		if vm["type"] == "VM" && !isProtected(vm, jobs) {
			open = append(open, vm)
		}
	}
	var found []Unprotected
	for _, vm := range sorted(open) {
		u := Unprotected{VM: vm, Intended: isIntended(vm)}
		for _, job := range jobs {
			verdict := job.Selector.Explain(vm)
			reason := verdict.Reason
			if verdict.In {
				reason = "the job is disabled"
			}
			u.Reasons = append(u.Reasons, job.Name+": "+reason)
		}
		found = append(found, u)
	}
	return found
}

func isProtected(vm VM, jobs []Job) bool {
	for _, job := range jobs {
		if !job.Disabled && job.Selector.Selects(vm) {
			return true
		}
	}
	return false
}

func isIntended(vm VM) bool {
	for _, tag := range vm.Tags() {
		if tag == TagReplica || tag == TagRecovery {
			return true
		}
	}
	_, is := NoBackup(vm)
	return is
}
