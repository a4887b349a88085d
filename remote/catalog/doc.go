// Package catalog reads and writes the backups of VMs in a repository as Xen
// Orchestra lays them out, on any [remote.Filesystem].
//
// # Layout
//
//	xo-vm-backups/<vm>.lock/                  the lock of a VM, see [Catalog.LockVM]
//	xo-vm-backups/<vm>/<date>.json            metadata: one restore point, see [Point] and [Metadata]
//	xo-vm-backups/<vm>/<date>.xva             full backup: the archive
//	xo-vm-backups/<vm>/<date>.xva.checksum    its checksum
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
// cache.json.gz, which Xen Orchestra believes without looking at the directory, is
// removed before each change and written anew after it. Our listing believes it as far
// as the directory bears it out.
package catalog
