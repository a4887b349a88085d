package xenrestore

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/filerestore"
)

// FilesFind finds files by a pattern.
func FilesFind() command.Command {
	return command.Command{
		Name: "files find", Short: "find files in a restore point by a pattern",
		Usage: "-remote URL -backup ID [-disk NAME] [-volume NAME] [-json] GLOB", Operands: true,
		Long: `Finds files in one volume, or in all that have files, by a pattern: * is any number of
characters of a name, ? is one, [a-z] is one of these, and ** is any number of directories.
A pattern without a slash is for names in any directory.

  xenrestore files find -remote file:///srv/backups -backup ID '*.conf'
  xenrestore files find -remote file:///srv/backups -backup ID -volume xvda/p1 '/home/*/.ssh/**'

Each line has the volume and the path, with a tab between; with -volume the path alone.
The exit code is 3 when a directory is damaged, else 4 when one could not be read; that
nothing was found is no failure. With -json it is an array of {"volume","path","type",
"size","mode","uid","gid","modified","target"}.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			f := declareFiles(flags)
			return func(ctx context.Context, std *command.Streams) error {
				if flags.NArg() != 1 {
					return command.UsageError("one GLOB is needed, such as '*.conf'; quote it, so that the shell leaves it alone")
				}
				typed := flags.Arg(0)
				if !strings.Contains(typed, "/") {
					typed = "**/" + typed
				}
				pattern, err := parseGlob(typed)
				if err != nil {
					return err
				}
				return f.with(ctx, std, func(s *filerestore.Session) error { return f.search(ctx, s, pattern, std) })
			}
		},
	}
}

// search prints what it finds while it goes on.
func (f *filesFlags) search(ctx context.Context, s *filerestore.Session, pattern glob, std *command.Streams) error {
	list, err := f.searched(s)
	if err != nil {
		return err
	}
	lost, all := &losses{std: std, moved: watch(std)}, &array{w: std.Out}
	for _, v := range list {
		if err := f.searchIn(ctx, v, pattern, lost, all); err != nil {
			return err
		}
	}
	if f.asJSON {
		if err := all.end(); err != nil {
			return err
		}
	}
	if err := s.Confirm(ctx); err != nil {
		return err
	}
	return lost.exit()
}

// searched are the volumes to look in.
func (f *filesFlags) searched(s *filerestore.Session) (list []*filerestore.Volume, err error) {
	if f.volume != "" {
		v, err := s.Volume(f.volume)
		if err != nil {
			return nil, &volumeError{err}
		}
		return []*filerestore.Volume{v}, nil
	}
	for v := range s.All() {
		if v.HasFiles() {
			list = append(list, v)
		}
	}
	if len(list) == 0 {
		return nil, &volumeError{filerestore.ErrNoFiles}
	}
	return list, nil
}

func (f *filesFlags) searchIn(ctx context.Context, v *filerestore.Volume, pattern glob, lost *losses, all *array) error {
	files, err := v.Open(ctx)
	if err != nil {
		if f.volume != "" || context.Cause(ctx) != nil {
			return err
		}
		lost.add(v.ID, "", err)
		return nil
	}
	lost.warn(v.ID, files.Warnings())
	for m, err := range pattern.matches(ctx, files) {
		switch {
		case m.ended:
			return err
		case err != nil:
			lost.add(v.ID, m.path, err)
			continue
		}
		if f.asJSON {
			err = all.add(describeFile(v.ID, m.path, files, &m.info))
		} else {
			err = f.printMatch(all.w, v.ID, m.path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *filesFlags) printMatch(w io.Writer, volume, name string) error {
	text := printable(name)
	if f.volume == "" {
		text = printable(volume) + "\t" + text
	}
	_, err := fmt.Fprintln(w, text)
	return err
}
