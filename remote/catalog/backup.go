package catalog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"strings"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// BackupKind is what a [Backup] is of, and the name of its directory at the root of
// the repository.
type BackupKind string

const (
	// BackupPool is the database of a pool, as "GET /pool/xmldbdump" gave it, in
	// xo-pool-metadata-backups/<schedule>/<pool>/<date>/data.
	BackupPool BackupKind = "xo-pool-metadata-backups"

	// BackupConfig is the configuration of Xen Orchestra, in
	// xo-config-backups/<schedule>/<date>/data.json (or data).
	BackupConfig BackupKind = "xo-config-backups"
)

// depth is how many directories there are from the root of the kind to the date.
func (k BackupKind) depth() int {
	switch k {
	case BackupPool:
		return 3
	case BackupConfig:
		return 2
	default:
		return 0
	}
}

const backupMetadataName = "metadata.json"

// Backup is a backup of something other than a VM: a directory with metadata.json
// and one file of content.
type Backup struct {
	ID       string // the directory from the root: "xo-config-backups/<schedule>/<date>"
	Kind     BackupKind
	Metadata BackupMetadata
}

// BackupMetadata is the content of metadata.json. Fields that it does not know are in
// Extra and are written again; empty fields are left out.
type BackupMetadata struct {
	JobID        string
	JobName      string
	ScheduleID   string
	ScheduleName string
	Timestamp    int64           // milliseconds since 1970
	Data         string          // of BackupConfig: the file, relative to the directory; "" is data.json
	Pool         json.RawMessage // of BackupPool: the record of the pool
	PoolMaster   json.RawMessage // of BackupPool: the record of the host that was its master

	Extra map[string]json.RawMessage
}

func backupFields(m *BackupMetadata) map[string]field {
	return map[string]field{
		"jobId": stringField(&m.JobID), "jobName": stringField(&m.JobName),
		"scheduleId": stringField(&m.ScheduleID), "scheduleName": stringField(&m.ScheduleName),
		"timestamp": intField(&m.Timestamp), "data": stringField(&m.Data),
		"pool": rawField(&m.Pool), "poolMaster": rawField(&m.PoolMaster),
	}
}

// UnmarshalJSON decodes what Xen Orchestra wrote.
func (m *BackupMetadata) UnmarshalJSON(data []byte) error {
	*m = BackupMetadata{}
	extra, err := decodeFields(data, backupFields(m))
	m.Extra = extra
	return err
}

// MarshalJSON encodes compactly; Xen Orchestra indents these files.
func (m BackupMetadata) MarshalJSON() ([]byte, error) {
	return encodeFields(m.Extra, backupFields(&m))
}

// Time returns when the backup was made.
func (b *Backup) Time() time.Time { return time.UnixMilli(b.Metadata.Timestamp).UTC() }

// Pool returns the uuid of the pool, the name of its directory; "" for another kind.
func (b *Backup) Pool() string {
	if b.Kind != BackupPool {
		return ""
	}
	return path.Base(path.Dir(b.ID))
}

// Backups yields the backups of one kind, by schedule, then by pool, then oldest first
// by the date of the directory; each is read when it is its turn. A directory without
// metadata.json, which an interrupted backup leaves, is passed over. A metadata.json that
// cannot be read or decoded is yielded as a [*PointError], and the listing goes on; any
// other error is the last pair. A repository without such backups yields nothing.
func (c *Catalog) Backups(ctx context.Context, kind BackupKind) iter.Seq2[*Backup, error] {
	return func(yield func(*Backup, error) bool) {
		if kind.depth() == 0 {
			yield(nil, fmt.Errorf("catalog: backups of kind %q: %w", kind, ErrInvalidName))
			return
		}
		c.walkBackups(ctx, kind, string(kind), kind.depth(), yield)
	}
}

// walkBackups goes down to the directories of dates; false when the listing has ended.
func (c *Catalog) walkBackups(ctx context.Context, kind BackupKind, dir string, depth int, yield func(*Backup, error) bool) bool {
	if depth == 0 {
		b, err := c.readBackup(ctx, kind, dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return true
		case ctx.Err() != nil:
			yield(nil, context.Cause(ctx))
			return false
		}
		return yield(b, err)
	}
	entries, err := c.fsys.ReadDir(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil {
		yield(nil, fmt.Errorf("catalog: list %s: %w", dir, err))
		return false
	}
	for _, e := range entries {
		if !e.IsDir() || !isElement(e.Name()) {
			continue
		}
		if !c.walkBackups(ctx, kind, path.Join(dir, e.Name()), depth-1, yield) {
			return false
		}
	}
	return true
}

// Backup reads one backup that is not of a VM by its id. A leading slash, as Xen
// Orchestra writes ids, is accepted. A missing one gives fs.ErrNotExist, an unreadable
// one a [*PointError].
func (c *Catalog) Backup(ctx context.Context, id string) (*Backup, error) {
	dir := strings.TrimPrefix(id, "/")
	root, rest, _ := strings.Cut(dir, "/")
	kind := BackupKind(root)
	parts := strings.Split(rest, "/")
	if kind.depth() == 0 || len(parts) != kind.depth() {
		return nil, fmt.Errorf("catalog: backup %q: %w", id, ErrInvalidName)
	}
	for _, part := range parts {
		if !isElement(part) {
			return nil, fmt.Errorf("catalog: backup %q: %w", id, ErrInvalidName)
		}
	}
	return c.readBackup(ctx, kind, dir)
}

func (c *Catalog) readBackup(ctx context.Context, kind BackupKind, dir string) (*Backup, error) {
	name := path.Join(dir, backupMetadataName)
	data, err := remote.ReadFile(ctx, c.fsys, name, maxJSON)
	if err != nil {
		return nil, newPointError(name, err)
	}
	b := &Backup{ID: dir, Kind: kind}
	if err := json.Unmarshal(data, &b.Metadata); err != nil {
		return nil, newPointError(name, err)
	}
	if err := dateFromName(&b.Metadata.Timestamp, path.Base(dir)); err != nil {
		return nil, newPointError(name, err)
	}
	return b, nil
}

// dataName is the file with the content, from the root of the repository.
func (b *Backup) dataName() (string, error) {
	data := "data"
	if b.Kind == BackupConfig {
		data = cmp.Or(b.Metadata.Data, "./data.json")
	}
	return within(b.ID, b.ID, data)
}
