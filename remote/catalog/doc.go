// Package catalog reads and writes the backups of VMs in a repository as Xen
// Orchestra lays them out, on any [remote.Filesystem].
//
// # Layout
//
//	xo-vm-backups/<vm>.lock/                  the lock of a VM, see [Catalog.LockVM]
//	xo-vm-backups/<vm>/<date>.json            metadata: one restore point, see [Point] and [Metadata]
//	xo-vm-backups/<vm>/<date>.xva             full backup: the archive
//	xo-vm-backups/<vm>/<date>.xva.checksum    its checksum
//	.xenbackup/evidence/<vm>/...              what must be in each of these, see [Catalog.Verify]
//	.xenbackup/leases/<vm>/<date>.json~*.lock readers of a point, see [Catalog.Lease]
//	xo-vm-backups/<vm>/cache.json.gz          all of the VM's metadata, to list it at once
//	xo-vm-backups/<vm>/vdis/<job>/<vdi>/<date>.vhd
//	                                          delta backup: a disk, see [Disk]
//	xo-vm-backups/<vm>/vdis/<job>/<vdi>/.<date>.vhd.merge.json
//	                                          a merge in progress, see [Session.Merge]
//
// <vm> is the uuid of the VM, <vdi> that of its own disk, and <date> the second
// of the snapshot in UTC, "20260110T030000Z" ([FormatDate]). The uuid in a VHD's
// footer is that of the snapshot VDI it was exported from: by it the disk is
// found again as the base of the next delta ([Session.FindBase]). A differencing
// VHD names its parent relative to its own directory, and parents sort before
// their children.
//
// A disk may also be kept as a directory of blocks, behind an alias with its name:
//
//	xo-vm-backups/<vm>/vdis/<job>/<vdi>/<date>.alias.vhd
//	                                          the path of its directory
//	xo-vm-backups/<vm>/vdis/<job>/<vdi>/data/<date>.vhd/
//	                                          the directory; see vhd.DirectoryWriter
//
// [Options.Format] chooses for new disks; by default a chain goes on as it is, and a
// new one is of files. Repositories encrypted at rest open with [Options.Key],
// through package remote/crypt; there all disks are directories, since a merge cannot
// change an encrypted file in place.
//
// # Reading
//
// [Open] gives a [Catalog]; [Catalog.VMs], [Catalog.Points] and [Catalog.Find] list it,
// [Catalog.OpenDisk] gives the content of a disk at a point. Reading takes no
// lock and changes nothing; whoever uses a disk's content for good asks
// [Disk.Confirm] afterwards, since retention may have gone on meanwhile. The
// directory is the truth.
//
// The archive of a full backup is a stream ([Catalog.OpenArchive]) whose end nobody gets
// before its checksum or tag fits; the disks in one that is neither compressed nor encrypted
// can be read anywhere ([Catalog.OpenArchiveDisks]). [Catalog.Backups] lists the backups of
// pools and of Xen Orchestra's configuration, [Catalog.OpenBackup] reads them;
// [Catalog.Immutability] tells how long backups are guarded.
//
// # Writing
//
// [Catalog.LockVM] gives a [Session], which excludes Xen Orchestra and other
// processes from one VM, and which makes no change once it may have lost that
// lock. A backup is
//
//	session.Merge        finish what was interrupted
//	session.FindBase     per disk: what can the delta be appended to?
//	session.NewPoint     CreateDisk, WriteBlock, Close per disk; then Commit
//	session.Expire       retention
//	session.Merge        merge and remove what is not needed any more
//	session.Close
//
// # What holds at each instant
//
//   - A restore point exists if and only if its JSON is complete under its
//     name. All it needs was synced before it got that name.
//   - What a reader can reach is published by: a temporary file in the same
//     directory, sync, rename, sync of the directory. Temporary files are named
//     ".<name>.<token>.tmp".
//   - What cannot be read is unknown, neither valid nor garbage. Nothing is
//     deleted because of something unknown. A JSON that does not parse is
//     reported ([PointError]), and stops expiry, deletion and merging in its VM.
//   - A merge is journaled in Xen Orchestra's own format and can be resumed by
//     either. Each restore point is readable at each instant of it.
//   - Paths in metadata and disks are not trusted: none leaves the directory of
//     the VM ([ErrOutside]).
//
// # Cleaning
//
// [Session.Clean] and [Catalog.Clean] find what crashes, killed jobs and Xen Orchestra
// left: disks and archives that no point needs, damaged ones, aliases and data that lost
// each other, temporary files, merges that were interrupted. They plan first, and a plan
// can be read, stored as JSON and handed back. What is garbage is removed only when
// two cleans have seen it unchanged, and then lies in the trash, under
// .xenbackup/trash/<vm>, until the next one. In between it is remembered under
// .xenbackup/clean. Nothing in a VM is touched while anything of it is unknown.
// [Session.Merge] follows the same rule with the same memory, but for what is ours: what
// this library wrote, as its evidence tells, and what the session itself deleted the point
// of, goes at once.
//
// # Verifying
//
// [Catalog.Verify] tells of each point whether it can be restored: from a look at the
// metadata to every byte that the point needs, with a report and a state to resume
// from that are stored as JSON.
//
// For every file that this package writes it writes down what must be in it, the
// evidence, at .xenbackup/evidence/<vm>/<the path of the file>.sums, durably and
// before the point exists: a line of JSON (for a disk: the snapshot VDI, the parent,
// the program that wrote it), then, of a disk, 36 bytes per block of 2 MiB, its index
// and its SHA-256, and the SHA-256 of all that. It is encrypted where the repository
// is, follows the blocks through our merges, and goes with the file. So a bit that flips
// anywhere in a file, or a file in the place of another, is found and named; not in
// what a merge of ours left between the blocks of a file that Xen Orchestra had merged before.
// Xen Orchestra leaves the evidence alone, and its merges make it outdated: then, and
// of points that were not written here, Verify says so, and never that they are corrupt.
// [Session.Distrust] lets the next backup of a disk that was found corrupt be a complete one.
// Evidence says nothing to who can write to the storage: it is not signed.
//
// # Readers and writers at the same time
//
// Whoever reads for long takes a [Lease], which may be shared: then no session of this
// library, in whatever process or machine, deletes the point or touches disks of its
// VM; they pass it over, and do it another time. A merge that is under way gives way
// within a second or so. Leases are lock directories, .xenbackup/leases/<vm>/<point>~<token>.lock,
// that are refreshed and judged as the lock of a VM is, so that a dead reader is in
// nobody's way for longer than little more than 10 s. They are as good as the storage
// lists new entries at once: an NFS mount of the kernel that caches directories may
// show them late, and then [Disk.Confirm] still tells. Xen Orchestra does not know of
// leases: what its own retention deletes under a reader, Confirm tells too.
//
// # Append only
//
// With [Options.AppendOnly] points are added and nothing is taken away, for machines that
// make backups and should not be able to lose any; another one, with more rights, deletes and
// merges. The lock of the VM is taken all the same: an empty directory that is made,
// touched and removed. The cache of the listing is kept right, which means that it is
// replaced: Xen Orchestra leaves it mutable too where it makes backups immutable. Storage
// that enforces it has to allow both, and temporary files that get their name.
//
// cache.json.gz, which Xen Orchestra believes without looking at the directory, is
// removed before each change and written anew after it. Our listing believes it as far
// as the directory bears it out.
package catalog
