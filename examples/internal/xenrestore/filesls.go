package xenrestore

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// volume is one as files ls prints it.
type volume struct {
	ID    string `json:"id"` // for -volume
	Kind  string `json:"kind"`
	Type  string `json:"type"`
	Title string `json:"title"`
	Label string `json:"label"`
	UUID  string `json:"uuid"`
	Size  int64  `json:"size"`
	Files bool   `json:"files"`           // can be listed
	Error string `json:"error,omitempty"` // why not
}

// FilesLs lists volumes, and files in them.
func FilesLs() command.Command {
	return command.Command{
		Name: "files ls", Short: "list the volumes of a restore point, or the files in a directory",
		Usage: "-remote URL -backup ID [-disk NAME] [-volume NAME] [-json] [PATH]", Operands: true,
		Long: `Without a PATH and -volume, lists the disks of a restore point and the volumes on them:
partitions, logical volumes, RAID. Else lists a directory, or a file, in one of them.
Nothing is mounted, and no root is needed.

  xenrestore files ls -remote file:///srv/backups -backup ID
  xenrestore files ls -remote file:///srv/backups -backup ID -volume lvm:vg0/root
  xenrestore files ls -remote file:///srv/backups -backup ID -volume xvda/p1 /etc/ssh

Bytes of names that are no UTF-8 are printed as %XX, and typed so. Links are shown, not
followed. The exit code is 3 when a part of the directory is damaged, else 4 when a part
could not be read. With -json it is an array, of {"id","kind","type","title","label",
"uuid","size","files","error"} for volumes, and of {"volume","path","type","size","mode",
"uid","gid","modified","target"} for files.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			f := declareFiles(flags)
			return func(ctx context.Context, std *command.Streams) error {
				if flags.NArg() > 1 {
					return command.UsageError("one PATH is listed at a time")
				}
				return f.with(ctx, std, func(s *filerestore.Session) error {
					if flags.NArg() == 0 && f.volume == "" {
						return f.volumes(s, std.Out)
					}
					return f.list(ctx, s, fsPath(flags.Arg(0)), std)
				})
			}
		},
	}
}

// volumes lists them.
func (f *filesFlags) volumes(s *filerestore.Session, out io.Writer) error {
	list := []volume{}
	for v := range s.All() {
		described := volume{
			ID: v.ID, Kind: v.Kind.String(), Type: v.Type, Title: v.Title, Label: v.Label, UUID: v.UUID, Size: v.Size, Files: v.HasFiles(),
		}
		if v.Err != nil {
			described.Error = v.Err.Error()
		}
		list = append(list, described)
	}
	if f.asJSON {
		return printJSON(out, list)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "VOLUME\tSIZE\tHOLDS\tLABEL\tFILES")
	for _, v := range list {
		can := "-"
		switch {
		case v.Error != "":
			can = printable(v.Error)
		case v.Files:
			can = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", printable(v.ID), progress.Bytes(v.Size), printable(v.Title), printable(v.Label), can)
	}
	return w.Flush()
}

// list lists a directory by name, or one file.
func (f *filesFlags) list(ctx context.Context, s *filerestore.Session, name string, std *command.Streams) error {
	v, files, err := f.find(ctx, s)
	if err != nil {
		return err
	}
	lost := &losses{std: std, moved: watch(std)}
	lost.warn(v.ID, files.Warnings())
	found, err := entriesAt(ctx, v, files, cmp.Or(name, "."), lost)
	if err != nil {
		return err
	}
	if err := s.Confirm(ctx); err != nil {
		return err
	}
	all := &array{w: std.Out}
	for _, e := range found {
		if f.asJSON {
			err = all.add(e)
		} else {
			err = e.long(std.Out, path.Base(e.Path))
		}
		if err != nil {
			return err
		}
	}
	if f.asJSON {
		if err := all.end(); err != nil {
			return err
		}
	}
	return lost.exit()
}

// entriesAt is what a directory has, or the one thing that is there.
func entriesAt(ctx context.Context, v *filerestore.Volume, files fsys.FS, name string, lost *losses) ([]file, error) {
	top, err := files.Lstat(name)
	if err != nil {
		return nil, &pathError{err}
	}
	info, ok := top.Sys().(*fsys.Info)
	if !ok {
		return nil, fmt.Errorf("%s: %w", v.ID, fsys.ErrUnsupported)
	}
	if !top.IsDir() {
		return []file{describeFile(v.ID, name, files, info)}, nil
	}
	var found []file
	for cursor, more := "", true; more; more = cursor != "" {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		page, next, err := files.ReadDirPage(info.Node, cursor, 0)
		if err != nil {
			lost.add(v.ID, name, err)
		}
		for _, e := range page {
			in := strings.TrimPrefix(path.Join(name, fsys.Escape(e.Name)), "./")
			described, err := files.StatNode(e.Node)
			if err != nil {
				lost.add(v.ID, in, err)
				continue
			}
			found = append(found, describeFile(v.ID, in, files, &described))
		}
		cursor = next
	}
	slices.SortFunc(found, func(a, b file) int { return cmp.Compare(a.Path, b.Path) })
	return found, nil
}
