package xenrestore

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/output"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/filerestore"
)

// formats are those of archives, by the endings of names.
func formats() []filerestore.Format {
	return []filerestore.Format{filerestore.TarZstd, filerestore.TarGzip, filerestore.Tar, filerestore.Zip}
}

// target finds out what -o and -format mean.
func (f *getFlags) target() error {
	named := f.format
	if named == "" && f.out == "-" {
		named = filerestore.Tar.String()
	}
	for _, kind := range formats() {
		if named == kind.String() || named == "" && strings.HasSuffix(f.out, "."+kind.String()) {
			f.kind = kind
			named = kind.String()
			break
		}
	}
	info, err := os.Stat(f.out)
	f.directory = f.out != "-" && (err == nil && info.IsDir() || os.IsPathSeparator(f.out[len(f.out)-1]))
	switch {
	case f.format != "" && named != f.kind.String():
		return command.UsageError("-format is tar.zst, tar.gz, tar or zip")
	case f.directory && f.format != "":
		return command.UsageError("-format is for archives, and -o is a directory")
	case f.owners && !f.directory:
		return command.UsageError("-owners is for directories: tars keep owners")
	case !f.directory && named == "":
		return command.UsageError("-o ends with .tar.zst, .tar.gz, .tar or .zip, or with / for a directory; -format is for other names")
	}
	return nil
}

// write writes it.
func (f *getFlags) write(
	ctx context.Context, s *filerestore.Session, list []filerestore.Selection, std *command.Streams, moved *progress.Printer,
) (*filerestore.Report, error) {
	watched := func(p filerestore.Progress) { moved.Move("files", p.Bytes, 0) }
	if f.directory {
		return f.extract(ctx, s, list, watched)
	}
	opts := &filerestore.ArchiveOptions{Progress: watched}
	if f.out == "-" {
		return s.Archive(ctx, std.Out, f.kind, list, opts)
	}
	out, err := output.Create(f.out, f.force)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Abort() }() // removes what is not complete
	report, err := s.Archive(ctx, out, f.kind, list, opts)
	if err != nil {
		return nil, err
	}
	return report, out.Commit()
}

// extract writes into a directory, which is made unless it is there.
func (f *getFlags) extract(
	ctx context.Context, s *filerestore.Session, list []filerestore.Selection, watched func(filerestore.Progress),
) (report *filerestore.Report, err error) {
	made := os.Mkdir(f.out, 0o755)
	if made != nil && !errors.Is(made, os.ErrExist) {
		return nil, made
	}
	root, err := os.OpenRoot(f.out)
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = root.Close()
		if err != nil && made == nil {
			_ = os.Remove(f.out) // if nothing is in it
		}
	}()
	return s.Extract(ctx, root, list, &filerestore.ExtractOptions{Overwrite: f.force, Owners: f.owners, Progress: watched})
}

// restoredFiles is what files get prints with -json.
type restoredFiles struct {
	Output      string    `json:"output"`
	Format      string    `json:"format"` // of the archive, or "directory"
	Files       int64     `json:"files"`
	Directories int64     `json:"directories"`
	Others      int64     `json:"others"` // links, devices, pipes
	Bytes       int64     `json:"bytes"`
	Complete    bool      `json:"complete"`
	Skipped     []skipped `json:"skipped"` // the first 1,000
	SkipCount   int64     `json:"skipCount"`
	Warnings    []warned  `json:"warnings"`
}

type skipped struct {
	Volume string `json:"volume"`
	Path   string `json:"path"`
	Error  string `json:"error"`
}

type warned struct {
	Volume  string `json:"volume"`
	Concern string `json:"concern"`
	Text    string `json:"text"`
}

func (f *getFlags) describe(r *filerestore.Report) *restoredFiles {
	d := &restoredFiles{
		Output: f.out, Format: f.kind.String(), Files: r.Files, Directories: r.Directories, Others: r.Others, Bytes: r.Bytes,
		Complete: r.Complete(), Skipped: []skipped{}, SkipCount: r.SkipCount, Warnings: []warned{},
	}
	if f.directory {
		d.Format = "directory"
	}
	for _, s := range r.Skipped {
		d.Skipped = append(d.Skipped, skipped{s.Volume, s.Path, s.Err.Error()})
	}
	for _, w := range r.Warnings {
		d.Warnings = append(d.Warnings, warned{w.Volume, w.Concern.String(), w.Text})
	}
	return d
}
