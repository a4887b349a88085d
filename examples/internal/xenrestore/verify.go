package xenrestore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// verified is the report of a verification.
type verified struct {
	Level   catalog.VerifyLevel     `json:"level"`
	Valid   int                     `json:"valid"` // points
	Corrupt int                     `json:"corrupt"`
	Unknown int                     `json:"unknown"`
	Points  []*catalog.PointVerdict `json:"points"`
}

// Verify looks whether points can be restored.
func Verify() command.Command {
	return command.Command{
		Name: "verify", Short: "tell whether points can be restored", Usage: "-remote URL [-level quick|structure|data] [-vm UUID | -backup ID] [-state FILE] [-json]",
		Long: `Looks whether restore points can be restored, and says of each one whether it is
valid, corrupt, or unknown since looking failed. Nothing in the repository is changed.

  quick      the metadata, and the presence and length of all files
  structure  also the structure of all disks and archives, through their chains
  data       also every byte that the points need, against what proves it

  xenrestore verify -remote nfs://nas/export/xo -level structure
  xenrestore verify -remote file:///srv/backups -level data -state verify.state -json > report.json

With -state, one that was interrupted goes on where it was when it is started again
with the same arguments; the report has everything. The file is removed at the end.

The exit code is 3 when a point is corrupt, else 4 when one is unknown. With -json it is
{"level","valid","corrupt","unknown","points":[{"point","level","verdict","evidence",
"files","bytes","findings":[{"file","verdict","block","offset","reason"}],"notes"}]}.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			at := declareLocation(flags)
			level := flags.String("level", "quick", "how deep to look: quick, structure or data")
			vm := declareUUID(flags, "vm", "only the points of the VM with this `UUID`")
			id := flags.String("backup", "", "only the point with this `ID`")
			state := flags.String("state", "", "`file` to go on from, and to keep what was found in until the end")
			limit := flags.Int64("limit", 0, "`MiB` that are read per second at most (default: no limit)")
			asJSON := flags.Bool("json", false, "print JSON")
			return func(ctx context.Context, std *command.Streams) error {
				opts := &catalog.VerifyOptions{Level: catalog.VerifyLevel(*level), VM: *vm, Point: *id, BytesPerSecond: *limit << 20}
				return verify(ctx, std, at, opts, *state, *asJSON)
			}
		},
	}
}

func verify(ctx context.Context, std *command.Streams, at *location, opts *catalog.VerifyOptions, state string, asJSON bool) (err error) {
	levels := []catalog.VerifyLevel{catalog.VerifyQuick, catalog.VerifyStructure, catalog.VerifyData}
	if !slices.Contains(levels, opts.Level) || opts.BytesPerSecond < 0 {
		return command.UsageError("-level is quick, structure or data, and -limit is not negative")
	}
	repo, err := at.open(ctx, std)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, repo.Close()) }()
	if opts.Point != "" {
		if err := repo.exists(ctx, opts.Point); err != nil {
			return err
		}
	}
	j, err := loadJournal(state, opts)
	if err != nil {
		return err
	}
	text := std.Out
	switch {
	case asJSON && std.Terminal:
		text = std.Err
	case asJSON:
		text = io.Discard
	}
	report, err := repo.verify(ctx, j, opts, text, std)
	if err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(std.Out, report); err != nil {
			return err
		}
	}
	return errors.Join(j.remove(), report.exit())
}

// exists tells of a point that is not there; one that cannot be read is there.
func (r *repository) exists(ctx context.Context, id string) error {
	_, err := r.Point(ctx, id)
	if _, broken := pointError(err); err == nil || broken && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return &backupError{err}
}

// verify prints what it finds on text while it goes on.
func (r *repository) verify(
	ctx context.Context, j *journal, opts *catalog.VerifyOptions, text io.Writer, std *command.Streams,
) (*verified, error) {
	out := progress.New(std.Err, std.Terminal)
	defer out.Clear()
	if std.Terminal {
		opts.Checkpoint = showing(out, opts.Checkpoint)
	}
	for _, v := range j.Points {
		printVerdict(text, v)
	}
	for v, err := range r.Verify(ctx, opts) {
		out.Clear()
		if err != nil {
			return nil, errors.Join(err, j.flush())
		}
		if err := j.add(v); err != nil {
			return nil, err
		}
		printVerdict(text, v)
	}
	report := &verified{Level: opts.Level, Points: j.Points}
	for _, v := range j.Points {
		switch v.Verdict {
		case catalog.Valid:
			report.Valid++
		case catalog.Corrupt:
			report.Corrupt++
		default:
			report.Unknown++
		}
	}
	fmt.Fprintf(text, "%d points are valid, %d corrupt, %d unknown (level %s)\n", report.Valid, report.Corrupt, report.Unknown, report.Level)
	return report, nil
}

// showing also shows which file is read, and about how far it is: pieces are of 2 MiB.
func showing(out *progress.Printer, keep func(*catalog.VerifyState) error) func(*catalog.VerifyState) error {
	return func(s *catalog.VerifyState) error {
		if f := s.Current; f != nil && f.Size > 0 {
			out.Move(f.File, min(int64(f.Next)<<21, f.Size-1), f.Size)
		}
		if keep == nil {
			return nil
		}
		return keep(s)
	}
}

func printVerdict(w io.Writer, v *catalog.PointVerdict) {
	fmt.Fprintf(w, "%-7s  %s", v.Verdict, v.Point)
	if v.Level == catalog.VerifyData {
		fmt.Fprintf(w, "  (evidence %s)", v.Evidence)
	}
	fmt.Fprintln(w)
	for _, f := range v.Findings {
		fmt.Fprintf(w, "         %s\n", printable(f.String()))
	}
	for _, note := range v.Notes {
		fmt.Fprintf(w, "         note: %s\n", printable(note))
	}
}

// exit is the error of the exit code.
func (v *verified) exit() error {
	switch {
	case v.Corrupt > 0:
		return &command.ExitError{Code: command.Damaged, Err: fmt.Errorf(
			"%d points are corrupt: others of the same VM may be whole, and the next backup should be a complete one", v.Corrupt)}
	case v.Unknown > 0:
		return &command.ExitError{Code: command.Undecided, Err: fmt.Errorf(
			"%d points could not be judged: the findings say why; try again when the storage answers", v.Unknown)}
	}
	return nil
}
