package xenrestore

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// fate is what retention means for a point.
type fate struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	ScheduleID string `json:"scheduleId"`
	Keep       bool   `json:"keep"`
	Reason     string `json:"reason"`
}

// Retention explains which points a retention keeps.
func Retention() command.Command {
	return command.Command{
		Name: "retention", Short: "explain which points a retention would keep", Usage: "-remote URL -plan -keep N [-daily N] [-weekly N] [-monthly N] [-yearly N] [-schedule ID] [-vm UUID] [-json]",
		Long: `Tells of every restore point whether a retention would keep it, and why: the newest of
each schedule and mode, and one of each day, week, month or year besides. It counts
as Xen Orchestra does after a run. Nothing is deleted: backup jobs do that.

  xenrestore retention -remote file:///srv/backups -plan -keep 7 -weekly 4 -monthly 12

With -json it is an array of {"id","name","scheduleId","keep","reason"}.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			at := declareLocation(flags)
			plan := flags.Bool("plan", false, "explain, and delete nothing; it must be given")
			vm := declareUUID(flags, "vm", "only the VM with this `UUID`")
			schedule := flags.String("schedule", "", "only the schedule with this `ID`")
			r := catalog.Retention{LongTerm: &catalog.LongTerm{}}
			flags.IntVar(&r.Keep, "keep", 0, "how many of the newest are kept")
			flags.StringVar(&r.Mode, "mode", "", "only full or delta points")
			flags.IntVar(&r.LongTerm.Daily.Keep, "daily", 0, "for how many days one point is kept")
			flags.IntVar(&r.LongTerm.Weekly.Keep, "weekly", 0, "for how many weeks")
			flags.IntVar(&r.LongTerm.Monthly.Keep, "monthly", 0, "for how many months")
			flags.IntVar(&r.LongTerm.Yearly.Keep, "yearly", 0, "for how many years")
			zone := flags.String("zone", "UTC", "time `zone` in which days begin, such as Europe/Paris")
			flags.BoolVar(&r.LongTerm.ISOWeeks, "iso-weeks", false, "weeks begin on Monday")
			asJSON := flags.Bool("json", false, "print JSON")
			return func(ctx context.Context, std *command.Streams) (err error) {
				if !*plan || r.Keep < 1 {
					return command.UsageError("-plan and -keep N, at least 1, are needed")
				}
				if r.LongTerm.Zone, err = time.LoadLocation(*zone); err != nil {
					return command.UsageError("-zone: " + err.Error())
				}
				repo, err := at.open(ctx, std)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, repo.Close()) }()
				fates, bad, err := repo.plan(ctx, &catalog.Filter{VM: *vm, ScheduleID: *schedule}, r)
				if err != nil {
					return err
				}
				if *asJSON {
					err = printJSON(std.Out, fates)
				} else {
					err = printFates(std, fates)
				}
				return errors.Join(err, damaged(bad))
			}
		},
	}
}

// plan tells the fate of points, VM by VM, and how many points cannot be read.
func (r *repository) plan(ctx context.Context, f *catalog.Filter, by catalog.Retention) (fates []fate, bad int, err error) {
	vms := map[string][]*catalog.Point{}
	var order []string
	for p, err := range r.Find(ctx, f) {
		if _, broken := pointError(err); broken {
			bad++
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if vms[p.VM()] == nil {
			order = append(order, p.VM())
		}
		vms[p.VM()] = append(vms[p.VM()], p)
	}
	fates = []fate{} // in JSON not null
	for _, vm := range order {
		fates = append(fates, fatesOf(vms[vm], by)...)
	}
	return fates, bad, nil
}

// fatesOf counts each schedule for itself.
func fatesOf(points []*catalog.Point, by catalog.Retention) []fate {
	var fates []fate
	schedules := map[string]bool{}
	for _, p := range points {
		schedules[p.Metadata.ScheduleID] = true
	}
	for id := range schedules {
		by.ScheduleID = id
		for _, f := range catalog.Plan(points, by) {
			if f.Point.Metadata.ScheduleID == id {
				fates = append(fates, fate{f.Point.ID, f.Point.Name(), id, f.Keep, f.Reason})
			}
		}
	}
	slices.SortFunc(fates, func(a, b fate) int { return cmp.Compare(a.ID, b.ID) })
	return fates
}

func printFates(std *command.Streams, fates []fate) error {
	w := tabwriter.NewWriter(std.Out, 0, 0, 2, ' ', 0)
	kept := 0
	for _, f := range fates {
		what := "delete"
		if f.Keep {
			what, kept = "keep", kept+1
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", what, f.ID, printable(f.Name), f.Reason)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.Out, "%d kept, %d deleted\n", kept, len(fates)-kept)
	return err
}
