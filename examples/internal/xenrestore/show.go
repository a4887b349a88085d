package xenrestore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/vhd"
)

// shown is what show prints with -json.
type shown struct {
	point
	Archive     string    `json:"archive,omitempty"`     // of a full point: from the directory of the VM
	Compression string    `json:"compression,omitempty"` // of the archive
	GuardedTill time.Time `json:"guardedUntil,omitzero"` // the storage keeps it from being changed
}

// Show describes one restore point.
func Show() command.Command {
	return command.Command{
		Name: "show", Short: "describe a restore point and its disks", Usage: "-remote URL -backup ID [-json]",
		Long: `Describes one restore point: the VM, the job, and the disks with the names that
"disk -disk" and "vm -map" take. Each disk is opened, so that what is missing is said.

  xenrestore show -remote file:///srv/backups -backup xo-vm-backups/2c1e…/20260110T030000Z.json

The exit code is 3 when a disk cannot be opened. With -json it is the object that list
prints, with "links" for each disk (the files that it is made of), and "archive",
"compression" and "guardedUntil" where there are such.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			at, id := declareLocation(flags), declareBackup(flags)
			asJSON := flags.Bool("json", false, "print JSON")
			return func(ctx context.Context, std *command.Streams) (err error) {
				repo, err := at.open(ctx, std)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, repo.Close()) }()
				p, err := repo.find(ctx, *id)
				if err != nil {
					return err
				}
				s, err := repo.show(ctx, p)
				if err != nil {
					return err
				}
				if *asJSON {
					err = printJSON(std.Out, s)
				} else {
					err = s.print(std.Out)
				}
				return errors.Join(err, s.damage())
			}
		},
	}
}

func (r *repository) show(ctx context.Context, p *catalog.Point) (*shown, error) {
	s := &shown{point: describe(p), Archive: p.Metadata.XVA}
	guard, err := r.Immutability(ctx)
	if err != nil {
		return nil, err
	}
	if guard != nil && guard.Guards(p, time.Now()) {
		s.GuardedTill = guard.Until(p)
	}
	if p.Metadata.Mode == catalog.ModeFull {
		return s, r.showArchive(ctx, p, s)
	}
	infos := r.Disks(p)
	s.Disks = describeDisks(infos)
	for i, info := range infos {
		d, err := r.OpenDisk(ctx, p, info.Ref)
		if err != nil {
			s.Disks[i].Error = err.Error()
			continue
		}
		s.Disks[i].Links, s.Disks[i].Size = d.Links(), d.Size()
		if err := d.Close(); err != nil {
			return nil, err
		}
	}
	return s, context.Cause(ctx)
}

func (r *repository) showArchive(ctx context.Context, p *catalog.Point, s *shown) error {
	archive, err := r.OpenArchive(ctx, p)
	if err == nil {
		s.Compression = archive.Compression().String()
		err = archive.Close()
	}
	if err == nil {
		var infos []catalog.DiskInfo
		infos, err = restore.Disks(ctx, r.Catalog, p)
		s.Disks = describeDisks(infos)
	}
	if err != nil {
		s.Error = err.Error()
	}
	return context.Cause(ctx)
}

// damage is the error of the exit code.
func (s *shown) damage() error {
	bad := s.Error != ""
	for _, d := range s.Disks {
		bad = bad || d.Error != ""
	}
	if !bad {
		return nil
	}
	return &command.ExitError{Code: command.Damaged, Err: errors.New(
		"not all of the point can be opened; verify -level data -backup ID tells more, and other points of the VM may be whole")}
}

func (s *shown) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	line("ID", s.ID)
	line("VM", printable(s.Name)+" ("+s.VM+")")
	line("Time", s.Time.Format(time.RFC3339))
	line("Mode", s.Mode)
	line("Size", progress.Bytes(s.Size))
	line("Job", s.JobID)
	line("Schedule", s.ScheduleID)
	line("Kept as", strings.Join(s.Tags, ", "))
	line("Archive", s.Archive)
	line("Compression", s.Compression)
	if !s.GuardedTill.IsZero() {
		line("Guarded", "until "+s.GuardedTill.Format(time.RFC3339))
	}
	line("Error", printable(s.Error))
	for _, d := range s.Disks {
		line("\nDisk", d.SourceVDI)
		line("  snapshot", d.VDI)
		line("  name", printable(d.Name))
		line("  size", progress.Bytes(d.Size))
		if d.Memory {
			line("  holds", "the memory of the VM")
		}
		if d.Links > 0 {
			line("  files", fmt.Sprint(d.Links))
		}
		if d.Links > vhd.FileRestoreMaxLinks {
			line("  note", fmt.Sprintf("no files are restored from more than %d", vhd.FileRestoreMaxLinks))
		}
		line("  error", printable(d.Error))
	}
	return w.Flush()
}
