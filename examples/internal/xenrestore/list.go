package xenrestore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// errNoPoints is said of a VM that was asked for.
var errNoPoints = errors.New("the repository has no restore points of this VM")

// List lists restore points.
func List() command.Command {
	return command.Command{
		Name: "list", Short: "list the restore points", Usage: "-remote URL [-vm UUID] [-json]",
		Long: `Lists the restore points of a repository, VM by VM and oldest first. The first
column is the ID that the other commands take as -backup.

  xenrestore list -remote nfs://nas/export/xo
  xenrestore list -remote file:///srv/backups -json | jq -r '.[] | select(.name == "web") | .id'

With -json it is an array of {"id","vm","name","mode","time","size","jobId","scheduleId",
"tags","disks":[{"vdi","sourceVdi","name","size","memory","path"}]}; a point whose
metadata cannot be read has "id", "vm" and "error".
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			at := declareLocation(flags)
			vm := declareUUID(flags, "vm", "only the points of the VM with this `UUID`")
			asJSON := flags.Bool("json", false, "print JSON")
			return func(ctx context.Context, std *command.Streams) (err error) {
				repo, err := at.open(ctx, std)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, repo.Close()) }()
				points, bad, err := repo.list(ctx, *vm)
				if err != nil {
					return err
				}
				if *asJSON {
					err = printJSON(std.Out, points)
				} else {
					err = printPoints(std.Out, points)
				}
				return errors.Join(err, damaged(bad))
			}
		},
	}
}

// list also says how many of the points cannot be read.
func (r *repository) list(ctx context.Context, vm string) (points []point, bad int, err error) {
	points = []point{} // in JSON not null
	for p, err := range r.Find(ctx, &catalog.Filter{VM: vm}) {
		if broken, ok := pointError(err); ok {
			points = append(points, unreadable(broken))
			bad++
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		described := describe(p)
		described.Disks = describeDisks(r.Disks(p))
		points = append(points, described)
	}
	if len(points) == 0 && vm != "" {
		return nil, 0, fmt.Errorf("%s: %w", vm, errNoPoints)
	}
	return points, bad, nil
}

func printPoints(out io.Writer, points []point) error {
	if len(points) == 0 {
		_, err := fmt.Fprintln(out, "No restore points.")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tMODE\tSIZE\tDISKS\tVM")
	for _, p := range points {
		if p.Error != "" {
			fmt.Fprintf(w, "%s\tunreadable\t\t\t%s\n", p.ID, printable(p.Error))
			continue
		}
		disks := ""
		if p.Mode == catalog.ModeDelta {
			disks = fmt.Sprint(len(p.Disks))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", p.ID, p.Mode, progress.Bytes(p.Size), disks, printable(p.Name))
	}
	return w.Flush()
}
