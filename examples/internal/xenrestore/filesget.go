package xenrestore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"strings"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// maxMatches is how many things one pattern may be of: each is a selection of its own.
const maxMatches = 10_000

// getFlags are those of files get.
type getFlags struct {
	*filesFlags
	out, format   string
	force, owners bool
	kind          filerestore.Format // of an archive
	directory     bool               // no archive
}

// FilesGet restores files.
func FilesGet() command.Command {
	return command.Command{
		Name: "files get", Short: "restore files and directories out of a restore point",
		Usage:    "-remote URL -backup ID [-disk NAME] [-volume NAME] -o FILE|DIR/|- [-format FORMAT] [-force] [-json] PATH...",
		Operands: true,
		Long: `Restores files, and directories with all that is in them, as an archive or into a
directory. A PATH may be a pattern, as of files find: '/etc/*.conf', '/home/**/*.odt'.

  xenrestore files get -remote file:///srv/backups -backup ID -o etc.tar.zst /etc
  xenrestore files get -remote file:///srv/backups -backup ID -volume xvda/p1 -o back/ '/home/ada/*.odt'
  xenrestore files get -remote file:///srv/backups -backup ID -o - /var/www | ssh web tar x -C /srv

The ending of -o tells the kind: .tar.zst, .tar.gz, .tar or .zip. A directory that is there,
or a name with a / at its end, is where the files go. With - a tar, or what -format says, goes
to standard output, and is right only if the exit code is 0. Tars and directories keep modes,
times, links, holes and extended attributes; owners too, directories with -owners.

An archive gets its name when it is complete and durable; a failure leaves nothing. In a
directory no file is left half written. What is there stays, without -force. What could not
be read is said, and put down in a file at the end of the archive: the exit code is 3 when
something is damaged, else 4 when something was left out (sockets, and outside of
tars devices, always are). With -json it is {"output","format","files","directories","others","bytes",
"complete","skipped":[{"volume","path","error"}],"skipCount","warnings":[{"volume","concern",
"text"}]}.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			f := &getFlags{filesFlags: declareFiles(flags)}
			flags.StringVar(&f.out, "o", "", "`file` or directory to write; - is standard output")
			flags.StringVar(&f.format, "format", "", "tar.zst, tar.gz, tar or zip, where the name does not tell")
			flags.BoolVar(&f.force, "force", false, "replace files that are there")
			flags.BoolVar(&f.owners, "owners", false, "in a directory: give files to their owners, by number; needs root")
			return func(ctx context.Context, std *command.Streams) error { return f.run(ctx, flags.Args(), std) }
		},
	}
}

func (f *getFlags) run(ctx context.Context, paths []string, std *command.Streams) error {
	if len(paths) == 0 {
		return command.UsageError("what is to be restored? Name a PATH or several; / is all of the volume")
	}
	if err := checkOutput(f.out, f.asJSON, std); err != nil {
		return err
	}
	if err := f.target(); err != nil {
		return err
	}
	return f.with(ctx, std, func(s *filerestore.Session) error {
		v, files, err := f.find(ctx, s)
		if err != nil {
			return err
		}
		lost := &losses{std: std, moved: watch(std)}
		defer lost.moved.Clear()
		list, err := choose(ctx, v, files, paths, lost)
		if err != nil {
			return err
		}
		report, err := f.write(ctx, s, list, std, lost.moved)
		if err != nil {
			return err
		}
		return f.tell(report, std, lost)
	})
}

// choose finds what paths and patterns are of.
func choose(ctx context.Context, v *filerestore.Volume, files fsys.FS, paths []string, lost *losses) ([]filerestore.Selection, error) {
	var list []filerestore.Selection
	for _, typed := range paths {
		name := fsPath(typed)
		if name == "" {
			name = "."
		}
		_, err := files.Lstat(name)
		switch {
		case err == nil:
			list = append(list, filerestore.Selection{Volume: v.ID, Path: name})
			continue
		case !isGlob(typed) || !errors.Is(err, fs.ErrNotExist):
			return nil, &pathError{err}
		}
		found, err := matching(ctx, v, files, typed, lost)
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

// matching is what a pattern is of, without what lies in something that it is of too.
func matching(ctx context.Context, v *filerestore.Volume, files fsys.FS, typed string, lost *losses) (list []filerestore.Selection, err error) {
	pattern, err := parseGlob(typed)
	if err != nil {
		return nil, err
	}
	above := "\x00"
	for m, err := range pattern.matches(ctx, files) {
		switch {
		case m.ended:
			return nil, err
		case strings.HasPrefix(m.path, above):
			continue // and what cannot be read there is told when it is restored
		case err != nil:
			lost.add(v.ID, m.path, err)
			continue
		}
		if len(list) == maxMatches {
			return nil, command.UsageError(fmt.Sprintf("%s is of more than %d files: name directories", typed, maxMatches))
		}
		list = append(list, filerestore.Selection{Volume: v.ID, Path: m.path})
		if m.info.Mode.IsDir() {
			above = m.path + "/"
		}
	}
	if len(list) == 0 {
		return nil, &pathError{&fs.PathError{Op: "find", Path: typed, Err: fs.ErrNotExist}}
	}
	return list, nil
}

// tell says what came out.
func (f *getFlags) tell(report *filerestore.Report, std *command.Streams, lost *losses) error {
	found := lost.n
	for _, w := range report.Warnings {
		lost.warn(w.Volume, []fsys.Warning{w.Warning})
	}
	for _, s := range report.Skipped {
		lost.add(s.Volume, s.Path, s.Err)
	}
	lost.n = found + report.SkipCount
	lost.moved.Clear()
	switch {
	case f.asJSON:
		if err := printJSON(std.Out, f.describe(report)); err != nil {
			return err
		}
	case f.out != "-":
		fmt.Fprintf(std.Out, "%s: %d files, %d directories, %d others, %s\n",
			f.out, report.Files, report.Directories, report.Others, progress.Bytes(report.Bytes))
	}
	return lost.exit()
}
