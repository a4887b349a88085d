package filerestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/xenbackup/xenbackup/xva"
)

// Format of an archive.
type Format uint8

const (
	// Tar keeps most: names of any bytes, times with nanoseconds, owners, modes, extended
	// attributes and ACLs, hard links, holes, devices.
	Tar Format = iota
	// TarGzip is Tar in gzip.
	TarGzip
	// TarZstd is Tar in zstd.
	TarZstd
	// Zip is for Windows: names in UTF-8, times in seconds, owners, modes and symbolic
	// links for those who read them. Hard links are stored again, holes become zeros.
	Zip
)

// String returns the usual ending of a file's name, without a dot before it.
func (f Format) String() string {
	switch f {
	case Tar:
		return "tar"
	case TarGzip:
		return "tar.gz"
	case TarZstd:
		return "tar.zst"
	case Zip:
		return "zip"
	}
	return "unknown"
}

// ArchiveOptions of [Session.Archive]. Nil and zero fields mean the defaults.
type ArchiveOptions struct {
	Limits   Limits
	Progress func(Progress)    // must not block
	Audit    func(Audit) error // before each entry; an error leaves it out, and is reported

	// WindowsNames makes names in a zip such that Windows accepts them: others have %XX
	// in place of what it does not.
	WindowsNames bool
}

// Archive writes selections to w as one archive, in one pass, with a fixed amount of
// memory. (The table at the end of a zip is the exception: some 400 bytes for each entry.)
//
// The names are the paths in the volume, below a directory for each volume where there are
// several. None is absolute or leads out of where it is unpacked, whatever the volume
// holds; symbolic links come after everything else, so that nothing is unpacked through
// one. Selections that lie in others count once.
//
// What cannot be read is left out, or is zeros from there on, and is in the report. An
// archive to which that, or a warning of a volume, applies ends with a file
// RESTORE-REPORT.txt, so that it never looks complete. Errors of w, the end of ctx and a
// backup that was deleted meanwhile (see [Session.Confirm]) end it, without an end of the
// archive: what was written until then is none. The report is never nil.
func (s *Session) Archive(ctx context.Context, w io.Writer, format Format, list []Selection, opts *ArchiveOptions) (*Report, error) {
	var o ArchiveOptions
	if opts != nil {
		o = *opts
	}
	var sink sink
	compression := xva.None
	switch format {
	case Zip:
		sink = newZipSink(w, o.WindowsNames)
	case Tar:
	case TarGzip:
		compression = xva.Gzip
	case TarZstd:
		compression = xva.Zstd
	default:
		return &Report{}, fmt.Errorf("filerestore: archive of format %d: %w", format, fs.ErrInvalid)
	}
	found, err := s.pick(ctx, list)
	if err != nil {
		return &Report{}, err
	}
	c := &collector{ctx: ctx, sink: sink, limits: o.Limits, progress: o.Progress, audit: o.Audit, confirm: s.Confirm}
	if sink != nil {
		return &c.report, c.run(found)
	}
	packed, err := xva.NewCompressor(w, compression)
	if err != nil {
		return &Report{}, err
	}
	c.sink = newTarSink(packed)
	err = c.run(found)
	return &c.report, errors.Join(err, packed.Close())
}
