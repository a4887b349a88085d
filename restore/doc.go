// Package restore makes VMs of backups.
//
// [VM] restores a point of a [catalog.Catalog] to a pool, whichever pool it came
// from. A delta:
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
// A full point is imported by the pool itself, which makes the VM of the archive:
//
//	check        options, SR; the archive describes one VM
//	import       the archive, proven as it passes; the pool gets its last 2 MiB when
//	             structure and checksums are right, all of it, and what lies beside
//	             it: no pool completes a VM without that
//	disks, VM    without the marks of backup jobs
//	VIFs         with the addresses they had, unless new ones are wanted
//	names        as above
//
// What is damaged thus makes no VM, and a failure leaves none. Pools refuse archives
// of newer pools (IMPORT_INCOMPATIBLE_VERSION). With [Options].DiskByDisk the VM is
// made as that of a delta, by this package, of what is in the archive: on pools that
// are older, with an SR for each disk, or without some of them.
//
// [ExportXVA] makes an archive of a delta point; [OpenDisk] reads a single disk of any
// point, without a pool.
//
// What is kept of a VM is what makes one like it. References to objects of the
// pool it came from (home server, vApp, snapshot schedule) are dropped, and so
// are the marks of backup jobs, so that the new VM is nobody's replica. A VM whose
// memory is in the point comes back suspended, where the pool can do that, and with the
// addresses that the guest in the memory has. Disk by disk an archive gives a halted one.
package restore
