// Package pipeline runs backup jobs: it takes snapshots of VMs, reads each disk
// once, writes it to every repository of the job, and keeps as many points as
// the settings say.
//
// A [Job] is XO's JSON; a [Runner] runs it. Which VMs it backs up is decided when
// it runs, by the job's list of ids or the pattern of XO's smart mode, over all
// pools of the runner; see [selector]. What is left out though it fits is told, as
// an info of the run or, of a listed VM, a task that is skipped; a VM that is not
// found and a pool that cannot be asked are failures. The run of one VM:
//
//	guard            refuse a VM that migrates, or a replica of the job itself
//	clean-vm         per repository: lock the VM's folder, finish interrupted merges
//	block            no migration until the end; what was there before comes back
//	tidy             undo what a killed run left: snapshots, tags, the block
//	base             newest snapshot that was exported and that every repository
//	                 has, disk by disk; a disk without one is exported in full
//	chains           skip a VM whose disks the storage has yet to coalesce
//	snapshot         under a temporary name until it has its tags          (limited)
//	export           per disk: one read, N targets                         (limited)
//	                   pool -> blocks of 2 MiB, from one budget -> each target
//	commit           per repository: the point exists from here on
//	mark             the snapshot is the base of the next delta
//	expire           snapshots and points that retention does not keep
//	clean-vm         what has expired is merged into the chain
//
// That is mode "delta". A job of mode "full" has no base and marks none:
//
//	guard, block, tidy as above; leavings on the repositories are removed
//	chains, snapshot   unless the VM is halted or suspended and exported itself
//	export             the whole VM as one XVA archive: one read, N targets    (limited)
//	                     pool -> pieces of 2 MiB -> each target, and the proof
//	commit             archive, its checksum, the point's JSON, in this order
//	snapshot, expire   go, unless retention keeps them
//	clean-vm           as above
//
// # Full backups
//
// An archive counts as complete when its structure and every checksum in it were
// found right as it passed, compressed or not, up to its end; when the pool's task
// has succeeded; and when every byte was written. A VM that is suspended is backed up
// with its memory. The archive of a VM with a virtual TPM holds its secrets.
//
// A compressed export says nothing for minutes while it passes an empty disk. That is
// no stall as long as the pool's task progresses; see [xapi.Client.ExportVM].
//
// The pool compresses as [Job.Compression] says, "" as in XO's jobs not at all, and on
// one processor of the host: of a disk of files gzip leaves 36 % and zstd 33 %, gzip in
// more than twice the time. Where the destination compresses by itself (ZFS,
// Btrfs, deduplicating appliances), "" is the setting: the host does not spend its
// time on it, the destination finds what has not changed since yesterday, and disks
// can be read at random.
//
// # Before something happens
//
// [Job.Validate] says what is wrong with a job, [Job.Warnings] what of it may
// disappoint, and [Runner.Plan] what a run would do now: which VMs, which disks in
// full and why, which points expire. A repository without room for a disk is dropped
// before anything of the disk is written, unless it compresses: then that cannot be
// told. [UnexpectedFull] keeps a delta that became a full backup from filling a
// repository, or the night.
//
// # When something fails
//
// A target that fails is dropped, and its tasks say why; the others go on. When
// the source fails, or no target is left, or ctx ends, everything is undone: the
// new snapshot is destroyed, points that were not committed are removed, the VM
// can migrate again, locks are released. The snapshot of the last success stays,
// so that the next run is a delta. Undoing does not use the ctx that ended, and
// takes at most two minutes per step.
//
// A VM that failed is backed up again after all others, nRetriesVmBackupFailures
// times. The settings timeout and vmTimeout bound the run and each VM, and
// maxExportRate what all its exports read in a second; [Runner.Cancel] ends a run,
// or one VM of it.
//
// When the process is killed nothing is undone, but the next run of the job finds
// what is left by its names and tags: a snapshot with a temporary name, one that
// was tagged but not exported, a block with our text. If the kill fell between
// commit and mark, the snapshot is adopted as the base.
//
// # Limits
//
// A [Limiter] hands out slots, per pool and kind of work: 2 snapshots, 12 disk
// exports, 2 VM exports by [DefaultLimits]. Removal of snapshots is not limited.
// Runs that share a Limiter share its slots; one that several processes share can
// be plugged in. How many VMs of a job are backed up at a time is the job's own
// setting. Snapshots do not wait for exports: those of all VMs that are under way
// are taken from the start of the run, each export begins as soon as its snapshot is
// there. A snapshot that is stuck loses its slot after
// [RunnerOptions].SnapshotTimeout. A [LocalLimiter] shows what waits for what, and
// can be adjusted while runs are under way.
//
// One Runner keeps two jobs off the same VM. Two processes do so only if they
// write to the same repository, by its lock: do not let two processes back up one
// VM to different repositories at the same time, for each takes the other's
// temporary snapshot and migration block for leavings.
//
// # The pool's memory
//
// What a job knows of the pool's side is in other_config of snapshots and their
// disks, under XO's keys, so that XO can continue a job and the other way round:
// xo:backup:job, :schedule, :vm, :datetime, :contentKey, :deltaChainLength and
// :exported.
//
// A VM whose disks have more than one snapshot behind them that the storage has
// not coalesced is skipped, as XO does, unless bypassVdiChainsCheck is set. Where
// the storage does not show its chains, the pool itself refuses at its limit.
package pipeline
