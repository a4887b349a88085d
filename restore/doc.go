// Package restore makes VMs of backups.
//
// [VM] restores a delta point of a [catalog.Catalog] to a pool, whichever pool it
// came from:
//
//	check        options, SRs, metadata; open all disks: nothing is changed before
//	VM.create    "[Importing…] name", its start blocked
//	VDI.create   "[Importing] name", VBD.create
//	contents     as a VHD of exact length, some disks at a time
//	VIF.create   on the network it had, else one of the same VLAN, else any
//	VTPMs        with their contents
//	names        "name (date of the point)", tag "restored from backup"; the start
//	             is free again
//
// Until the last step somebody who looks at the pool sees what is going on, and
// nobody can start half a VM. A restore that fails, or whose context ends, destroys
// all it has made; a process that is killed leaves the "[Importing…]" VM to be
// destroyed by hand.
//
// [Importer] is the same from any source of records and disks.
//
// What is kept of a VM is what makes one like it. References to objects of the
// pool it came from (home server, vApp, snapshot schedule) are dropped, and so
// are the marks of backup jobs, so that the new VM is nobody's replica. Memory
// images are not restored: a VM that was suspended comes back halted.
package restore
