package xenrestore

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// point is a restore point as -json prints it.
type point struct {
	ID         string    `json:"id"` // for -backup
	VM         string    `json:"vm"`
	Name       string    `json:"name"` // of the VM
	Mode       string    `json:"mode"` // full or delta
	Time       time.Time `json:"time"` // of the snapshot
	Size       int64     `json:"size"` // bytes written for it
	JobID      string    `json:"jobId"`
	ScheduleID string    `json:"scheduleId"`
	Tags       []string  `json:"tags"`            // of long-term retention
	Disks      []disk    `json:"disks"`           // of a full point: from show alone
	Error      string    `json:"error,omitempty"` // it cannot be read, and nothing but id and vm is known
}

// disk is a disk of one.
type disk struct {
	VDI       string `json:"vdi"`       // uuid of the snapshot's VDI
	SourceVDI string `json:"sourceVdi"` // uuid of the VM's own
	Name      string `json:"name"`
	Size      int64  `json:"size"` // bytes
	Memory    bool   `json:"memory,omitempty"`
	Links     int    `json:"links,omitempty"` // from show: disk files that it is made of
	Path      string `json:"path,omitempty"`  // from the directory of the VM
	Error     string `json:"error,omitempty"` // from show: it cannot be opened
}

func describe(p *catalog.Point) point {
	described := point{
		ID: p.ID, VM: p.VM(), Name: p.Name(), Mode: p.Metadata.Mode, Time: p.Time().UTC(), Size: p.Metadata.Size,
		JobID: p.Metadata.JobID, ScheduleID: p.Metadata.ScheduleID, Tags: p.Metadata.Tags, Disks: []disk{},
	}
	if described.Tags == nil {
		described.Tags = []string{} // in JSON not null
	}
	return described
}

func describeDisks(infos []catalog.DiskInfo) []disk {
	disks := []disk{}
	for _, i := range infos {
		disks = append(disks, disk{VDI: i.VDI, SourceVDI: i.SourceVDI, Name: i.Name, Size: i.Size, Memory: i.Memory, Path: i.Path})
	}
	return disks
}

// unreadable describes a point whose metadata cannot be used.
func unreadable(e *catalog.PointError) point {
	rest, _ := strings.CutPrefix(e.Path, "xo-vm-backups/")
	vm, _, _ := strings.Cut(rest, "/")
	return point{ID: e.Path, VM: vm, Tags: []string{}, Disks: []disk{}, Error: e.Err.Error()}
}

// declareUUID declares a flag for a uuid, which may be typed in capitals.
func declareUUID(flags *flag.FlagSet, name, usage string) *string {
	uuid := new(string)
	uuidVar(flags, uuid, name, usage)
	return uuid
}

func uuidVar(flags *flag.FlagSet, uuid *string, name, usage string) {
	flags.Func(name, usage, func(typed string) error {
		*uuid = canonical(typed)
		return nil
	})
}

// canonical is a uuid in small letters, as pools write them; what is none stays.
func canonical(typed string) string {
	const uuidLength = 36
	if len(typed) == uuidLength && strings.Count(typed, "-") == 4 {
		return strings.ToLower(typed)
	}
	return typed
}

func declareBackup(flags *flag.FlagSet) *string {
	return flags.String("backup", "", "`ID` of the restore point, as list prints it: xo-vm-backups/<vm>/<date>.json")
}

// find reads the point of -backup.
func (r *repository) find(ctx context.Context, id string) (*catalog.Point, error) {
	if id == "" {
		return nil, errNoBackup
	}
	p, err := r.Point(ctx, id)
	if err != nil {
		return nil, &backupError{err}
	}
	return p, nil
}

const errNoBackup = command.UsageError("-backup is needed: the ID of a restore point, as list prints it")

// backupError is a failure to read the point that was asked for.
type backupError struct{ err error }

func (e *backupError) Error() string { return e.err.Error() }
func (e *backupError) Unwrap() error { return e.err }

// damaged makes the exit code tell that a point cannot be read.
func damaged(bad int) error {
	if bad == 0 {
		return nil
	}
	return &command.ExitError{Code: command.Damaged, Err: fmt.Errorf(
		"%d points cannot be read: nothing is deleted or merged in their VMs while that is so; look at the files, or remove them with delete", bad)}
}

// pointError tells whether a listing goes on after err, which concerns one point.
func pointError(err error) (*catalog.PointError, bool) {
	return errors.AsType[*catalog.PointError](err)
}

// printJSON prints one document.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printable quotes a name that would do something to a terminal.
func printable(name string) string {
	if strings.IndexFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) < 0 {
		return name
	}
	return strconv.Quote(name)
}
