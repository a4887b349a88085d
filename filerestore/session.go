package filerestore

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// Disk is a disk of a VM, as [Open] takes it.
type Disk struct {
	ID   string // unique and stable; "disk0", "disk1", ... by default
	Name string // for people, may be empty
	R    io.ReaderAt
	Size int64 // in bytes
	Err  error // why it cannot be read; then R may be nil
}

// Options of [Open] and [OpenBackup]. Nil and zero fields mean the defaults.
type Options struct {
	// CacheSize bounds what is kept of the disks in memory, in bytes; 32 MiB by default.
	CacheSize int64

	// MetadataSize bounds what each opened volume keeps of its metadata, in bytes; the
	// readers' own default, 16 MiB, otherwise.
	MetadataSize int64

	// SectorSize is the unit of partition tables in bytes, 512 or 4096. By default a GPT
	// tells, and an MBR is of 512.
	SectorSize int64

	// Disk is the only one that OpenBackup opens, by its ID, the uuid of its VDI or that of
	// the snapshot's; all by default. What others had a part in is then ErrMissing.
	Disk string

	// Readers for file systems; Readers() by default.
	Readers []Reader

	Logger *slog.Logger // nil discards
}

// Session is the disks of a VM at one moment, and the volumes on them. All methods may be
// called concurrently.
type Session struct {
	opts    Options
	log     *slog.Logger
	volumes []*Volume
	close   func() error
	confirm func(ctx context.Context) error
	closed  atomic.Bool
}

// Open finds the volumes on disks. They are read only, stay the caller's, and must not
// change as long as the session is in use: ctx is for the search alone.
//
// What cannot be read is a [Volume] with an Err; only the end of ctx, and disks that make
// no sense, fail as a whole.
func Open(ctx context.Context, disks []Disk, opts *Options) (*Session, error) {
	s := &Session{close: func() error { return nil }, confirm: func(context.Context) error { return nil }}
	if opts != nil {
		s.opts = *opts
	}
	if s.opts.CacheSize <= 0 {
		s.opts.CacheSize = 32 << 20
	}
	if s.opts.Readers == nil {
		s.opts.Readers = Readers()
	}
	if s.log = s.opts.Logger; s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	disks, err := named(disks)
	if err != nil {
		return nil, err
	}
	f := &finder{session: s, ctx: ctx}
	s.volumes, err = f.find(disks, newBlockCache(s.opts.CacheSize))
	if err != nil {
		return nil, err
	}
	s.log.DebugContext(ctx, "volumes found", "disks", len(disks), "roots", len(s.volumes))
	return s, nil
}

// named gives each disk an ID, and checks that they differ.
func named(disks []Disk) ([]Disk, error) {
	disks = slices.Clone(disks)
	seen := map[string]bool{}
	for i := range disks {
		d := &disks[i]
		if d.ID == "" {
			d.ID = fmt.Sprintf("disk%d", i)
		}
		if seen[d.ID] || d.Size < 0 || d.R == nil && d.Err == nil {
			return nil, fmt.Errorf("filerestore: disk %q: %w", d.ID, fs.ErrInvalid)
		}
		seen[d.ID] = true
	}
	return disks, nil
}

// Volumes returns the disks in their order, behind them arrays, then volume groups; each
// with what is in it.
func (s *Session) Volumes() []*Volume { return slices.Clone(s.volumes) }

// All yields all volumes, parents first.
func (s *Session) All() iter.Seq[*Volume] {
	return func(yield func(*Volume) bool) {
		for _, v := range s.volumes {
			if !v.all(yield) {
				return
			}
		}
	}
}

// Volume finds a volume by ID; or by its label or UUID, where only one has it. An empty
// name finds the only volume that has files.
//
// Errors: fs.ErrNotExist, [ErrAmbiguous].
func (s *Session) Volume(name string) (*Volume, error) {
	var found []*Volume
	for v := range s.All() {
		switch {
		case name == "":
			if v.HasFiles() {
				found = append(found, v)
			}
		case v.ID == name:
			return v, nil
		case v.Label == name || v.UUID == name:
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("filerestore: volume %q: %w", name, fs.ErrNotExist)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("filerestore: volume %q: %w", name, ErrAmbiguous)
}

// OpenVolume opens the files of the volume that [Session.Volume] finds.
func (s *Session) OpenVolume(ctx context.Context, name string) (fsys.FS, error) {
	v, err := s.Volume(name)
	if err != nil {
		return nil, err
	}
	return v.Open(ctx)
}

// Confirm tells whether all that was read so far is what the backup held: of a session
// of [OpenBackup], see catalog.Disk.Confirm. Whoever restores files asks at the end;
// [Session.Archive] and [Session.Extract] do it themselves.
func (s *Session) Confirm(ctx context.Context) error {
	if err := s.live(); err != nil {
		return err
	}
	return s.confirm(ctx)
}

// Close ends the session, closes what [OpenBackup] opened, and gives back its lease.
func (s *Session) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.close()
}

func (s *Session) live() error {
	if s.closed.Load() {
		return fmt.Errorf("filerestore: %w", ErrClosed)
	}
	return nil
}

// other is what Others promises.
func (s *Session) other(family, uuid string) (r io.ReaderAt, size int64, ok bool) {
	for v := range s.All() {
		if v.content.Family != family || v.content.UUID != uuid || v.r == nil {
			continue
		}
		if ok {
			return nil, 0, false
		}
		r, size, ok = v.r, v.Size, true
	}
	return r, size, ok
}

func (s *Session) reader(family string) (Reader, bool) {
	i := slices.IndexFunc(s.opts.Readers, func(r Reader) bool { return r.Family == family })
	if i < 0 {
		return Reader{}, false
	}
	return s.opts.Readers[i], true
}
