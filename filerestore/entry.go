package filerestore

import (
	"context"
	"errors"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// entry is something on its way out.
type entry struct {
	volume *Volume
	files  fsys.FS
	path   string // in the volume, as fs.FS has it
	name   string // where it goes: slashes, each element safe
	info   fsys.Info
	xattrs map[string][]byte
	target string // of a symbolic link, raw; of a hard link, the name of the first one
}

// span is a run of content that is there.
type span struct{ off, n int64 }

// sink is where entries go. An error is the end of all, but for a *skipError.
type sink interface {
	name(raw string) string // makes an element of a name safe
	keepsHoles() bool
	directory(e *entry) error
	again(e *entry) error // a directory that was left, and now gets links
	file(e *entry, content *fsys.File, data []span, copier *copier) error
	link(e *entry) error // hard; errors.ErrUnsupported: store it again
	symlink(e *entry) error
	special(e *entry) error // device, pipe
	finish(report *Report) error
}

// skipError says that one entry is missing, or not as it was; the rest goes on.
type skipError struct {
	err  error
	kept bool // it is there, but not as it was
}

func (e *skipError) Error() string { return e.err.Error() }
func (e *skipError) Unwrap() error { return e.err }

func skip(err error) error { return &skipError{err: err} }

var (
	errSocket    = errors.New("sockets are not restored")
	errSpecial   = errors.New("devices and pipes are not restored here")
	errAttribute = errors.New("an extended attribute cannot be restored")
)

// maxSpans is how many runs of a file are told apart; what follows counts as one.
const maxSpans = 1 << 16

// minHole is what is worth being left out.
const minHole = 4096

// spans finds what of a file is there. Runs that are close together are one.
func spans(ctx context.Context, f *fsys.File) ([]span, error) {
	var list []span
	for e, err := range f.Extents(ctx, 0, f.Size()) {
		switch last := len(list) - 1; {
		case err != nil:
			return nil, err
		case e.Kind != disk.Data || e.Len == 0:
		case last >= 0 && (e.Off-list[last].off-list[last].n < minHole || last == maxSpans-1):
			list[last].n = e.End() - list[last].off
		default:
			list = append(list, span{e.Off, e.Len})
		}
	}
	return list, nil
}

func total(list []span) (n int64) {
	for _, s := range list {
		n += s.n
	}
	return n
}
