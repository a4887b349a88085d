package xenrestore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/output"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/vhd"
)

// diskFlags are those of disk.
type diskFlags struct {
	at                *location
	id                *string
	uuid, out, format string
	replace, asJSON   bool
}

// written is what disk and xva print with -json.
type written struct {
	Backup    string `json:"backup"`
	VDI       string `json:"vdi,omitempty"`
	SourceVDI string `json:"sourceVdi,omitempty"`
	Format    string `json:"format"`
	File      string `json:"file"`
	Size      int64  `json:"size"` // of the file
}

// Disk writes the content of a disk.
func Disk() command.Command {
	return command.Command{
		Name: "disk", Short: "write a disk to a file or a pipe", Usage: "-remote URL -backup ID [-disk UUID] -o FILE|- [-format raw|vhd] [-force] [-json]",
		Long: `Writes the content that a disk had, without a pool: raw (a sparse file), or as one
dynamic VHD without parents. -disk is the uuid of the VM's own VDI or that of the
snapshot's, as show prints them; it is not needed where the point has one disk.

  xenrestore disk -remote file:///srv/backups -backup ID -disk UUID -o web.raw
  xenrestore disk -remote file:///srv/backups -backup ID -o - | ssh host 'dd of=/dev/vg/web bs=4M'

The file gets its name when it is complete and durable; a failure leaves nothing. What is
written to a pipe is right only if the exit code is 0. With -json it is
{"backup","vdi","sourceVdi","format","file","size"}.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			f := &diskFlags{at: declareLocation(flags), id: declareBackup(flags)}
			uuidVar(flags, &f.uuid, "disk", "`UUID` of the disk's VDI, or of its snapshot's")
			flags.StringVar(&f.out, "o", "", "`file` to write; - is standard output")
			flags.StringVar(&f.format, "format", "raw", "raw or vhd")
			flags.BoolVar(&f.replace, "force", false, "replace the file if it is there")
			flags.BoolVar(&f.asJSON, "json", false, "print JSON about the file")
			return f.run
		},
	}
}

func (f *diskFlags) run(ctx context.Context, std *command.Streams) (err error) {
	if f.format != "raw" && f.format != "vhd" {
		return command.UsageError("-format is raw or vhd")
	}
	if err := checkOutput(f.out, f.asJSON, std); err != nil {
		return err
	}
	repo, err := f.at.open(ctx, std)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, repo.Close()) }()
	p, err := repo.find(ctx, *f.id)
	if err != nil {
		return err
	}
	if f.uuid == "" {
		if f.uuid, err = onlyDisk(ctx, repo, p); err != nil {
			return err
		}
	}
	d, err := restore.OpenDisk(ctx, repo.Catalog, p, f.uuid)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	report := &written{Backup: p.ID, VDI: d.Info.VDI, SourceVDI: d.Info.SourceVDI, Format: f.format, File: f.out}
	moved := watch(std)
	defer moved.Clear()
	if f.out == "-" {
		if err := f.pipe(ctx, d, std.Out, moved); err != nil {
			return err
		}
		return d.Confirm(ctx)
	}
	if report.Size, err = f.file(ctx, d, moved); err != nil {
		return err
	}
	return report.print(f.asJSON, std)
}

// checkOutput refuses what cannot be written to before anything is opened.
func checkOutput(name string, asJSON bool, std *command.Streams) error {
	out, ok := std.Out.(*os.File)
	switch {
	case name == "":
		return command.UsageError("-o is needed: a file, or - for standard output")
	case name == "-" && asJSON:
		return command.UsageError("-json and -o - would write to the same place")
	case name == "-" && ok && command.IsTerminal(out):
		return command.UsageError("-o - writes to a pipe or a file, not to a terminal")
	}
	return nil
}

// onlyDisk is the disk of a point that has no other.
func onlyDisk(ctx context.Context, repo *repository, p *catalog.Point) (string, error) {
	infos, err := restore.Disks(ctx, repo.Catalog, p)
	if err != nil {
		return "", err
	}
	only, list := "", ""
	n := 0
	for _, info := range infos {
		if info.Memory {
			continue
		}
		only, n = info.VDI, n+1
		list += fmt.Sprintf("\n  %s  %s", info.SourceVDI, printable(info.Name))
	}
	if n != 1 {
		return "", command.UsageError(fmt.Sprintf("-disk is needed, since the point has %d disks:%s", n, list))
	}
	return only, nil
}

func layout(d *restore.PointDisk) vhd.Layout {
	uuid, _ := vhd.ParseUUID(d.Info.VDI) // zeros where an archive has none
	return vhd.Layout{Type: vhd.Dynamic, Size: d.Size(), UUID: uuid}
}

// file writes a file, and returns its size.
func (f *diskFlags) file(ctx context.Context, d *restore.PointDisk, moved *progress.Printer) (int64, error) {
	out, err := output.Create(f.out, f.replace)
	if err != nil {
		return 0, err
	}
	defer func() { _ = out.Abort() }() // removes what is not complete
	opts := &vhd.CopyOptions{Progress: func(done, total int64) { moved.Move("disk", done, total) }}
	var result vhd.CopyResult
	if f.format == "vhd" {
		result, err = vhd.Flatten(ctx, out.File, d, layout(d), opts)
	} else {
		result, err = vhd.FlattenRaw(ctx, out.File, d, opts)
	}
	if err == nil {
		err = d.Confirm(ctx)
	}
	if err == nil {
		err = out.Commit()
	}
	return result.Size, err
}

// pipe writes a stream.
func (f *diskFlags) pipe(ctx context.Context, d *restore.PointDisk, w io.Writer, moved *progress.Printer) error {
	if f.format == "raw" {
		to := &meter{ctx: ctx, w: w, name: "disk", total: d.Size(), moved: moved}
		_, err := io.CopyBuffer(to, struct{ io.Reader }{io.NewSectionReader(d, 0, d.Size())}, make([]byte, 2<<20))
		return err
	}
	l := layout(d)
	var err error
	if l.Blocks, err = vhd.DataBlocks(ctx, d); err != nil {
		return err
	}
	export, err := vhd.NewExport(ctx, d, l)
	if err != nil {
		return err
	}
	_, err = export.WriteTo(&meter{ctx: ctx, w: w, name: "disk", total: export.Size(), moved: moved})
	return err
}

func (r *written) print(asJSON bool, std *command.Streams) error {
	if asJSON {
		return printJSON(std.Out, r)
	}
	_, err := fmt.Fprintf(std.Out, "%s: %s, %s\n", r.File, progress.Bytes(r.Size), r.Format)
	return err
}
