package catalog

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// MergeOptions directs [Session.Merge]. nil is fine.
type MergeOptions struct {
	// Progress is called now and then with the file that is being merged and the
	// bytes of it that are done, of how many. It must not block. With Parallel,
	// several files take turns; calls never overlap.
	Progress func(disk string, done, total int64)

	// Parallel is how many disks are put in order at once; 0 is one. Disks of one
	// directory always follow each other.
	Parallel int

	// No merge is begun after AtMost of them, after MaxBytes were moved, or when
	// MaxTime has passed; 0 is no bound. What has begun is finished, and so is what
	// was interrupted earlier: until then Xen Orchestra may not be able to read it.
	// What was put off is in MergeReport.Deferred, and is the next run's.
	AtMost   int
	MaxBytes int64
	MaxTime  time.Duration
}

// MergeReport says what [Session.Merge] did. Paths are relative to the
// directory of the VM.
type MergeReport struct {
	Merged   []MergedDisk
	Removed  []string  // files that were proven to be garbage
	Unknown  []Finding // what could not be judged: nothing near it was changed
	Left     []Finding // what is not in order but was not proven to be garbage
	Deferred []string  // disks whose merges the bounds of MergeOptions put off
}

// sort makes the order one that does not tell what ran at the same time.
func (r *MergeReport) sort() {
	slices.SortStableFunc(r.Merged, func(a, b MergedDisk) int { return cmp.Compare(a.Path, b.Path) })
	slices.Sort(r.Removed)
	slices.Sort(r.Deferred)
}

// MergedDisk is a disk that took in the disks before it.
type MergedDisk struct {
	Path    string   // of the disk
	Chain   []string // names in its directory that became one file: oldest first, the disk's own last
	Size    int64    // of the file now, in bytes
	Bytes   int64    // that were moved
	Resumed bool     // an earlier session, or Xen Orchestra, had begun
}

// Finding is a file or directory and what is the matter with it.
type Finding struct {
	Path string
	Err  error
}

// Merge puts the disks of the VM in order:
//
//  1. temporary files that a crash left are removed;
//  2. merges that were interrupted, here or in Xen Orchestra, are finished;
//  3. a disk that no point refers to and that no such disk depends on is removed,
//     and so is the data of disks kept as directories that no alias stands for: at
//     once if this library wrote it, as its evidence tells, or if this session has
//     deleted the point that needed it; all else when an earlier Merge, or a
//     [Session.Clean], has seen it as it is ([ErrSeenOnce] until then);
//  4. a disk that no point refers to, but that a later one depends on, is
//     merged with it: the blocks gather in the oldest, which takes over name (for
//     a disk kept as a directory, the alias) and uuid of the youngest. Every restore point stays readable at
//     each instant, and a crash at any instant leaves a state from which the
//     next Merge goes on;
//  5. the metadata of points whose disks were merged is brought up to date,
//     archives of full points without their JSON are removed, and the cache of
//     Xen Orchestra is written anew.
//
// Unknown is not garbage. As long as one JSON of the VM, or one directory or
// disk, cannot be read, nothing is touched; a damaged disk, or an alias that
// cannot be followed, stops changes in its own directory.
// So it is when a listing proves to lack a point whose disk or archive is there.
// Directories that no point refers to are left alone, and disks whose parent is
// missing: they are reported, and [Session.Clean] knows more about them. What the
// storage protects is reported as left (fs.ErrPermission), and no merge is begun that
// would replace a disk while [Catalog.Immutability] guards it. Nothing is removed by a
// session whose lock was taken from a holder that had only fallen silent: that one
// may come back and list the disks that it wrote ([remote.Lock.HolderMayReturn]).
//
// The report is never nil, and complete up to the error. When a merge fails,
// others go on.
func (s *Session) Merge(ctx context.Context, opts *MergeOptions) (report *MergeReport, err error) {
	m := newMerger(s, opts)
	if s.writing.Load() > 0 {
		return m.report, ErrBusy
	}
	if err := s.check(ctx); err != nil {
		return m.report, err
	}
	ch, err := s.beginChange(ctx)
	if err != nil {
		return m.report, err
	}
	defer func() { err = errors.Join(err, ch.end(ctx)) }()
	if len(ch.readers) > 0 {
		m.left(s.dir, ErrLeased)
		return m.report, nil
	}
	m.change = ch
	err = m.run(ctx)
	if m.opts.Parallel > 1 {
		m.report.sort()
	}
	return m.report, err
}
