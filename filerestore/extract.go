package filerestore

import (
	"context"
	"os"
)

// ExtractOptions of [Session.Extract]. Nil and zero fields mean the defaults.
type ExtractOptions struct {
	Limits   Limits
	Progress func(Progress)    // must not block
	Audit    func(Audit) error // before each entry; an error leaves it out, and is reported

	// Overwrite replaces files and links that were there before. Otherwise they stay, and
	// are reported with fs.ErrExist; as are, in any case, all but the first of names that
	// are the same to the directory, such as those that differ in case alone.
	Overwrite bool

	// Owners gives files to who had them, by number, with setuid and setgid bits, and
	// with the attributes that only root may set. It needs root.
	Owners bool
}

// Extract writes selections into a directory, with the names that [Session.Archive] gives
// them. Nothing is written outside of it, whatever the volume or the directory holds: see
// os.Root; symbolic links are made last. Directories that are there are used.
//
// Kept are content with its holes, modes, times, hard and symbolic links (these without
// times); on Linux also extended attributes and ACLs, as far as this user may set them and
// the file system has them. setuid and setgid bits are taken away, unless the owner is
// kept. Devices and pipes are not made.
//
// What cannot be read or written is left out, or is zeros from there on, and is in the
// report, which is never nil. A full disk, the end of ctx, and a backup that was deleted
// meanwhile are errors: what was made until then stays, but for the file at hand, which is
// removed; directories have their modes and times; symbolic links may be missing; and the
// report says that it is not complete. On Windows, names are those that it accepts.
func (s *Session) Extract(ctx context.Context, dir *os.Root, list []Selection, opts *ExtractOptions) (*Report, error) {
	var o ExtractOptions
	if opts != nil {
		o = *opts
	}
	found, err := s.pick(ctx, list)
	if err != nil {
		return &Report{}, err
	}
	into := &dirSink{root: dir, overwrite: o.Overwrite, owners: o.Owners}
	c := &collector{
		ctx: ctx, sink: into,
		limits: o.Limits, progress: o.Progress, audit: o.Audit, confirm: s.Confirm,
	}
	err = c.run(found)
	into.adornDirs(&c.report)
	return &c.report, err
}
