// Package task is the story of a run while it happens and after it has ended:
// a tree of tasks with a name, a status, a result and messages.
//
// The names and the JSON are those of Xen Orchestra's job log, so that whoever
// reads one reads the other:
//
//	backup run
//	└─ backup VM
//	   ├─ clean-vm → merge
//	   ├─ snapshot
//	   └─ export            one per target
//	      ├─ transfer
//	      └─ clean-vm → merge
//
// [NewRun] makes the root, [Task.Start] a child, [Task.Succeed] and [Task.Fail]
// end one. A task that ends takes the status of its children into account: see
// [Task.Succeed]. An [Observer] hears of each step as it happens; a [Record] is
// a copy of the tree at one moment, ready for encoding/json.
//
// A [Log] is an observer that keeps runs in a directory, line by line as they
// happen, so that they are there after a crash: runs that a killed process was amid
// are then interrupted. It finds runs by job, VM, status and text.
//
// Everything may be used concurrently. The package imports the standard library
// alone: whoever watches runs needs nothing else of this module.
package task
