package catalog

import "context"

// MergeOptions directs [Session.Merge]. nil is fine.
type MergeOptions struct {
	// Progress is called now and then with the file that is being merged and the
	// bytes of it that are done, of how many. It must not block.
	Progress func(disk string, done, total int64)
}

// MergeReport says what [Session.Merge] did. Paths are relative to the
// directory of the VM.
type MergeReport struct {
	Merged  []MergedDisk
	Removed []string  // files that were proven to be garbage
	Unknown []Finding // what could not be judged: nothing near it was changed
	Left    []Finding // what is not in order but was not proven to be garbage
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
//     and so is the data of disks kept as directories that no alias stands for;
//  4. a disk that no point refers to, but that a later one depends on, is
//     merged with it: the blocks gather in the oldest, which takes over name (for
//     a disk kept as a directory, the alias) and uuid of the youngest. Every restore point stays readable at
//     each instant, and a crash at any instant leaves a state from which the
//     next Merge goes on;
//  5. the metadata of points whose disks were merged is brought up to date,
//     archives of full points without their JSON are removed, and so is the
//     cache of Xen Orchestra.
//
// Unknown is not garbage. As long as one JSON of the VM, or one directory or
// disk, cannot be read, nothing but temporary files is touched; a damaged disk, or
// an alias that cannot be followed, stops changes in its own directory.
// So it is when a listing proves to lack a point whose disk or archive is there.
// Directories that no point refers to are left alone, and disks whose parent is
// missing: they are reported.
//
// The report is never nil, and complete up to the error. When a merge fails,
// others go on.
func (s *Session) Merge(ctx context.Context, opts *MergeOptions) (*MergeReport, error) {
	if opts == nil {
		opts = &MergeOptions{}
	}
	m := &merger{s: s, opts: opts, report: &MergeReport{}, sizes: map[string]int64{}, refs: map[string]bool{}}
	if s.writing.Load() > 0 {
		return m.report, ErrBusy
	}
	if err := s.check(ctx); err != nil {
		return m.report, err
	}
	err := m.run(ctx)
	return m.report, err
}
