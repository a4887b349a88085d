package xenrestore

import (
	"context"
	"errors"
	"flag"
	"io"
	"io/fs"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/output"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/xva"
)

// XVA writes a point as one archive.
func XVA() command.Command {
	return command.Command{
		Name: "xva", Short: "write a restore point as one XVA archive", Usage: "-remote URL -backup ID -o FILE|- [-compress none|gzip|zstd] [-force] [-json]",
		Long: `Writes a restore point as one archive, which "xe vm-import" and Xen Orchestra import.
Of a delta point it is made; that of a full one is there already, and is proven while
it is copied, as it is compressed.

  xenrestore xva -remote file:///srv/backups -backup ID -o web.xva
  xenrestore xva -remote file:///srv/backups -backup ID -o - | ssh host xe vm-import filename=/dev/stdin

The file gets its name when it is complete and durable; a failure leaves nothing. What is
written to a pipe is right only if the exit code is 0. With -json it is
{"backup","format","file","size"}.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			at, id := declareLocation(flags), declareBackup(flags)
			name := flags.String("o", "", "`file` to write; - is standard output")
			compress := flags.String("compress", "none", "of a delta point: none, gzip or zstd")
			replace := flags.Bool("force", false, "replace the file if it is there")
			asJSON := flags.Bool("json", false, "print JSON about the file")
			return func(ctx context.Context, std *command.Streams) (err error) {
				kind, ok := map[string]xva.Compression{"none": xva.None, "gzip": xva.Gzip, "zstd": xva.Zstd}[*compress]
				if !ok {
					return command.UsageError("-compress is none, gzip or zstd")
				}
				if err := checkOutput(*name, *asJSON, std); err != nil {
					return err
				}
				repo, err := at.open(ctx, std)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, repo.Close()) }()
				p, err := repo.find(ctx, *id)
				if err != nil {
					return err
				}
				moved := watch(std)
				defer moved.Clear()
				if *name == "-" {
					_, err := repo.archive(ctx, p, std.Out, kind, moved)
					return err
				}
				report := &written{Backup: p.ID, Format: "xva", File: *name}
				out, err := output.Create(*name, *replace)
				if err != nil {
					return err
				}
				defer func() { _ = out.Abort() }() // removes what is not complete
				if report.Size, err = repo.archive(ctx, p, out, kind, moved); err != nil {
					return err
				}
				if err := out.Commit(); err != nil {
					return err
				}
				moved.Clear()
				return report.print(*asJSON, std)
			}
		},
	}
}

// archive writes the archive and returns its length.
func (r *repository) archive(ctx context.Context, p *catalog.Point, w io.Writer, kind xva.Compression, moved *progress.Printer) (n int64, err error) {
	to := &meter{ctx: ctx, w: w, name: "archive", moved: moved}
	if p.Metadata.Mode != catalog.ModeFull {
		err := restore.ExportXVA(ctx, r.Catalog, p, to, &restore.ExportOptions{Compression: kind})
		return to.done, err
	}
	lease, err := r.Lease(ctx, p.ID)
	switch {
	case err == nil:
		defer func() { _ = lease.Release(ctx) }() // one that stays behind ends by itself
	case errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported):
	default:
		return 0, err
	}
	archive, err := r.OpenArchive(ctx, p)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	to.total = archive.Size()
	if _, err := io.CopyBuffer(to, struct{ io.Reader }{archive}, make([]byte, 1<<20)); err != nil {
		return 0, err
	}
	return to.done, archive.Confirm(ctx)
}
