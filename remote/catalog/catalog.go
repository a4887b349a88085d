package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// maxJSON bounds the metadata of one backup.
const maxJSON = 64 << 20

// Options configures a [Catalog]. The zero value, and nil, are fine.
type Options struct {
	Logger   *slog.Logger  // nil: nothing is logged
	LockWait time.Duration // how long LockVM waits for a lock that somebody holds; see remote.LockOptions
}

// Catalog is the tree of VM backups on a [remote.Filesystem], as Xen Orchestra
// lays it out. All methods may be called concurrently. Reading takes no lock;
// every change hangs on a [Session].
type Catalog struct {
	fsys     remote.Filesystem
	log      *slog.Logger
	lockWait time.Duration
}

// Open returns the catalog of the repository on fsys, which stays the
// caller's to close. An empty filesystem is an empty repository. Nothing is
// written. A repository encrypted at rest gives [ErrEncrypted].
func Open(ctx context.Context, fsys remote.Filesystem, opts *Options) (*Catalog, error) {
	if opts == nil {
		opts = &Options{}
	}
	c := &Catalog{fsys: fsys, log: opts.Logger, lockWait: opts.LockWait}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if err := refuseEncrypted(ctx, fsys); err != nil {
		return nil, err
	}
	return c, nil
}

func refuseEncrypted(ctx context.Context, fsys remote.Filesystem) error {
	const name = "encryption.json"
	data, err := remote.ReadFile(ctx, fsys, name, 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	var settings struct {
		Algorithm string `json:"algorithm"`
	}
	if err := json.Unmarshal(data, &settings); err != nil {
		return fmt.Errorf("catalog: %s: %w", name, err)
	}
	if settings.Algorithm != "none" {
		return fmt.Errorf("catalog: %w (%s)", ErrEncrypted, settings.Algorithm)
	}
	return nil
}
