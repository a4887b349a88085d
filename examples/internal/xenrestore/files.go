package xenrestore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// filesFlags are those that all commands about files have.
type filesFlags struct {
	at           *location
	id           *string
	disk, volume string
	asJSON       bool
}

func declareFiles(flags *flag.FlagSet) *filesFlags {
	f := &filesFlags{at: declareLocation(flags), id: declareBackup(flags)}
	uuidVar(flags, &f.disk, "disk", "open this disk alone: xvda, or the `UUID` of its VDI or of its snapshot's")
	flags.StringVar(&f.volume, "volume", "", "`name` of a volume, as files ls prints it, or its label or UUID (not needed where only one has files)")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	return f
}

// with opens the volumes of the point for as long as do runs.
func (f *filesFlags) with(ctx context.Context, std *command.Streams, do func(*filerestore.Session) error) (err error) {
	repo, err := f.at.open(ctx, std)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, repo.Close()) }()
	p, err := repo.find(ctx, *f.id)
	if err != nil {
		return err
	}
	s, err := filerestore.OpenBackup(ctx, repo.Catalog, p, &filerestore.Options{Disk: f.disk, Logger: f.at.logger(std)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return do(s)
}

// find opens the volume that is meant.
func (f *filesFlags) find(ctx context.Context, s *filerestore.Session) (*filerestore.Volume, fsys.FS, error) {
	if f.volume == "" {
		if err := onlyVolume(s); err != nil {
			return nil, nil, err
		}
	}
	v, err := s.Volume(f.volume)
	if err != nil {
		return nil, nil, &volumeError{err}
	}
	files, err := v.Open(ctx)
	return v, files, err
}

// onlyVolume says what to choose from, unless there is no choice.
func onlyVolume(s *filerestore.Session) error {
	list, n := "", 0
	for v := range s.All() {
		if v.HasFiles() {
			list, n = list+fmt.Sprintf("\n  %s  %s  %s", printable(v.ID), v.Title, printable(v.Label)), n+1
		}
	}
	switch n {
	case 0:
		return &volumeError{filerestore.ErrNoFiles}
	case 1:
		return nil
	}
	return command.UsageError(fmt.Sprintf("-volume is needed, since %d volumes have files:%s", n, list))
}

// volumeError is about a volume that was asked for.
type volumeError struct{ err error }

func (e *volumeError) Error() string { return e.err.Error() }
func (e *volumeError) Unwrap() error { return e.err }

// pathError is about a path that was asked for.
type pathError struct{ err error }

func (e *pathError) Error() string { return e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

// fsPath makes of what somebody types a path as fs.FS has it.
func fsPath(typed string) string {
	return strings.TrimPrefix(path.Clean("/"+typed), "/")
}

// losses counts what could not be read, and names it while that happens.
type losses struct {
	std     *command.Streams
	moved   *progress.Printer
	n       int64
	damaged bool
	exists  bool
}

func (l *losses) add(volume, name string, err error) {
	l.n++
	l.damaged = l.damaged || errors.Is(err, fsys.ErrCorrupt)
	l.exists = l.exists || errors.Is(err, fs.ErrExist)
	l.say("left out: ", volume, name, err.Error())
}

func (l *losses) say(what, volume, name, why string) {
	l.moved.Clear()
	text := volume
	if name != "" {
		text += ": " + name
	}
	fmt.Fprintf(l.std.Err, "%s%s\n", what, printable(text+": "+why))
}

// warn passes on what volumes say about themselves.
func (l *losses) warn(volume string, warnings []fsys.Warning) {
	for _, w := range warnings {
		if w.Concern != fsys.Replayed {
			l.say("warning: ", volume, "", w.String())
		}
	}
}

// exit is the error of the exit code.
func (l *losses) exit() error {
	if l.n == 0 {
		return nil
	}
	err := fmt.Errorf("%d entries are missing, or not as they were", l.n)
	if l.exists {
		err = fmt.Errorf("%w: %w", err, fs.ErrExist)
	}
	if l.damaged {
		return &command.ExitError{Code: command.Damaged, Err: err}
	}
	return &command.ExitError{Code: command.Undecided, Err: err}
}
