package filerestore

import (
	"fmt"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// maxSkips is how many entries of a [Report] are named.
const maxSkips = 1000

// Report says what an archive or a directory got, and what not.
type Report struct {
	Files       int64 // regular files, hard links among them
	Directories int64
	Others      int64 // symbolic links, devices, pipes
	Bytes       int64 // of content; holes count where the format has none
	Skipped     []Skip
	SkipCount   int64 // all of them: only the first 1,000 are in Skipped
	Warnings    []VolumeWarning
}

// Skip is an entry that is missing, or not as it was.
type Skip struct {
	Volume string // ID
	Path   string // as fs.FS has it
	Err    error
}

// VolumeWarning is what a volume says about itself.
type VolumeWarning struct {
	Volume string // ID
	fsys.Warning
}

// Complete tells that nothing is missing, and that all is as the VM would have shown it.
func (r *Report) Complete() bool {
	for _, w := range r.Warnings {
		if w.Concern != fsys.Replayed {
			return false
		}
	}
	return r.SkipCount == 0
}

func (r *Report) skip(volume, path string, err error) {
	r.SkipCount++
	if len(r.Skipped) < maxSkips {
		r.Skipped = append(r.Skipped, Skip{volume, path, err})
	}
}

// String is the text that an incomplete archive has at its end.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Restored: %d files, %d directories, %d others, %d bytes.\n", r.Files, r.Directories, r.Others, r.Bytes)
	if r.Complete() {
		b.WriteString("Nothing is missing.\n")
	} else {
		fmt.Fprintf(&b, "THIS IS NOT COMPLETE: %d entries are missing or not as they were.\n", r.SkipCount)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "%s: %s\n", w.Volume, w.Warning)
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "%s: %q: %v\n", s.Volume, s.Path, s.Err)
	}
	if n := r.SkipCount - int64(len(r.Skipped)); n > 0 {
		fmt.Fprintf(&b, "and %d more\n", n)
	}
	return b.String()
}
