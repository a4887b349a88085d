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
//	                   with the guest shut down before it, or its memory, if asked for
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
// # Guests
//
// A snapshot holds what the disks hold, as after a power cut. The settings, or a tag of
// the VM where no setting says more, ask for better:
//
//	offlineSnapshot     xo-offline-backup   the guest is shut down for the snapshot
//	offlineBackup                           ... until all was read; a full backup has no snapshot
//	checkpointSnapshot  xo-memory-backup    the memory is kept, always in full; a restored VM
//	                                        is suspended, and goes on where it was
//
// Only guests that run are shut down, by themselves, and not before it is their turn to
// be snapshotted or exported. They are started again whatever happens: after a failure
// or a cancellation by the run, as long as ten minutes, and after a kill by
// [Runner.Recover] or the next run, whichever finds the mark xenbackup:start in the VM's
// other_config; meanwhile the VM counts as running for patterns. A VM that somebody has
// started since is not touched, and one whose start is blocked is not shut down.
// A guest that obeys only after its shutdown was given up is beyond this.
//
// Disks with [NOBAK] in their names are left out of snapshots and backups; then there is
// no memory either, which would miss them.
//
// # Settings
//
// XO's settings of jobs, by the scopes of [Job.Resolve]. Honoured, as [Settings] says:
//
//	concurrency, diskPerVmConcurrency, maxExportRate, timeout, vmTimeout,
//	nRetriesVmBackupFailures, exportRetention, snapshotRetention, longTermRetention with
//	timezone, fullInterval, deleteFirst, maxMergedDeltasPerRun, bypassVdiChainsCheck,
//	unconditionalSnapshot, offlineBackup, offlineSnapshot, checkpointSnapshot
//
// Done in any case, whatever is set:
//
//	mergeBackupsSynchronously  what has expired is merged before the run ends
//	validateVhdStreams         each stream is proven complete
//
// Kept, for whoever calls this package:
//
//	reportWhen                 shown in the run; reportRecipients, hideSuccessfulItems and
//	                           backupReportTpl are for who reports
//	getRemoteTimeout           [RunnerOptions].Remotes opens repositories
//
// Kept and passed over, with a warning where a backup is another one without them:
//
//	preferNbd, useNbd, nbdConcurrency    disks are read as streams
//	cbtDestroySnapshotData               disks are compared with their snapshots, which stay
//	synchronizedSnapshot                 with a concurrency of 0 all snapshots are taken at first
//	healthCheck...                       no VM is started to see whether its backup is good
//	copyRetention, distribute...         there are no replicas; VMs go to all repositories
//	skipDeleteOldEntries                 points that retention does not keep are deleted
//
// All others, those of later versions of XO too, are kept as they are.
//
// # Before something happens
//
// [Job.Validate] says what is wrong with a job, [Job.Warnings] what of it may
// disappoint, and [Runner.Plan] what a run would do now: which VMs, which disks in
// full and why, how many bytes at most, which points expire. A repository without room
// for a disk is dropped before anything of the disk is written, unless it compresses:
// then that cannot be told. One without room for an archive that is not compressed is
// dropped before the archive is asked for, if the pool's storage says how much of the
// disks is allocated; where it may only be that there is no room, a warning says so.
// [UnexpectedFull] keeps a delta that became a full backup from filling a
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
// # When the process is killed
//
// Then nothing is undone, but before each step that leaves something behind a run writes
// down what that will be, in its [State]. With [DirState] whoever has the directory next
// undoes it, by [Runner.Recover] or with its first run: exports are cancelled, a guest
// that was halted is started, migration is allowed again, the snapshot goes, and so do
// locks and files in the repositories. If the kill fell between commit and mark, the
// snapshot stays, and the next run adopts it as the base. What retention has not removed
// yet is the next run's too.
//
// Without a directory, or after it was lost, the next run of the job finds what is left of
// each of its VMs by names and tags: a snapshot with a temporary name, one that was tagged
// but not exported, a block with our text, a guest with our mark.
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
