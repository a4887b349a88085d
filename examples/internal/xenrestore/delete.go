package xenrestore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path"
	"strings"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// deleted is what delete prints with -json.
type deleted struct {
	Deleted string   `json:"deleted"` // the ID
	Merged  []string `json:"merged"`  // disks that took in those before them, from the directory of the VM
	Removed []string `json:"removed"` // files, from there
	Pending []string `json:"pending"` // what could not be judged, and was left alone
}

// Delete deletes a point.
func Delete() command.Command {
	return command.Command{
		Name: "delete", Short: "delete a restore point", Usage: "-remote URL -backup ID [-no-merge] [-json]",
		Long: `Deletes one restore point at once, under the lock that Xen Orchestra takes too, and
merges its disks into those of the point after it, so that their space is freed. All
other points stay readable at each instant. A point that somebody restores from is
not deleted.

  xenrestore delete -remote file:///srv/backups -backup xo-vm-backups/2c1e…/20260110T030000Z.json

With -no-merge the disks are left to the next backup, or to clean. With -json it is
{"deleted","merged","removed","pending"}.
`,
		Prepare: func(flags *flag.FlagSet) command.Run {
			at, id := declareLocation(flags), declareBackup(flags)
			noMerge := flags.Bool("no-merge", false, "leave the disks of the point for later")
			asJSON := flags.Bool("json", false, "print JSON")
			return func(ctx context.Context, std *command.Streams) (err error) {
				if *id == "" {
					return errNoBackup
				}
				repo, err := at.open(ctx, std)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, repo.Close()) }()
				if err := repo.exists(ctx, *id); err != nil {
					return err
				}
				report, err := repo.delete(ctx, strings.TrimPrefix(*id, "/"), !*noMerge, std)
				if report == nil {
					return err
				}
				if *asJSON {
					return errors.Join(err, printJSON(std.Out, report))
				}
				fmt.Fprintf(std.Out, "deleted %s; %d disks merged, %d files removed\n", report.Deleted, len(report.Merged), len(report.Removed))
				for _, left := range report.Pending {
					fmt.Fprintf(std.Out, "left alone: %s\n", printable(left))
				}
				return err
			}
		},
	}
}

// delete returns a report once the point is deleted, also with an error.
func (r *repository) delete(ctx context.Context, id string, merge bool, std *command.Streams) (report *deleted, err error) {
	session, err := r.LockVM(ctx, path.Base(path.Dir(id)))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, session.Close(context.WithoutCancel(ctx))) }()
	if err := session.Delete(ctx, id); err != nil {
		return nil, err
	}
	report = &deleted{Deleted: id, Merged: []string{}, Removed: []string{}, Pending: []string{}}
	if !merge {
		return report, nil
	}
	moved := watch(std)
	defer moved.Clear()
	merged, err := session.Merge(ctx, &catalog.MergeOptions{Progress: moved.Move})
	for _, d := range merged.Merged {
		report.Merged = append(report.Merged, d.Path)
	}
	report.Removed = append(report.Removed, merged.Removed...)
	for _, f := range append(merged.Unknown, merged.Left...) {
		report.Pending = append(report.Pending, fmt.Sprintf("%s: %v", f.Path, f.Err))
	}
	return report, err
}
