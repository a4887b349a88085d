package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/xenbackup/xenbackup/examples/internal/config"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/all"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// remotes are the repositories. One is open while a run uses it, and opened anew by the
// next, which sees whether the same storage is still there.
type remotes struct {
	conf  *config.Config
	state *state
	log   *slog.Logger

	mu   sync.Mutex
	open map[string]*repository
}

// repository is one that runs use.
type repository struct {
	users int // guarded by remotes.mu

	mu      sync.Mutex // held while it is opened
	fsys    remote.Filesystem
	catalog *catalog.Catalog
}

func newRemotes(conf *config.Config, state *state, log *slog.Logger) *remotes {
	return &remotes{conf: conf, state: state, log: log, open: map[string]*repository{}}
}

// hold says that a run will use the repositories. release, after the run, closes those
// that nobody uses any more.
func (r *remotes) hold(ids []string) (release func() error) {
	var held []string
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		name, conf := r.conf.Remote(id)
		if conf == nil {
			continue // the run tells
		}
		if r.open[name] == nil {
			r.open[name] = &repository{}
		}
		r.open[name].users++
		held = append(held, name)
	}
	return func() error { return r.release(held) }
}

func (r *remotes) release(held []string) error {
	var unused []*repository
	r.mu.Lock()
	for _, name := range held {
		own := r.open[name]
		if own.users--; own.users == 0 {
			delete(r.open, name)
			unused = append(unused, own)
		}
	}
	r.mu.Unlock()
	var errs []error
	for _, own := range unused {
		if own.fsys != nil {
			errs = append(errs, own.fsys.Close())
		}
	}
	return errors.Join(errs...)
}

// catalog returns the catalog of a repository that is held.
func (r *remotes) catalog(ctx context.Context, id string) (*catalog.Catalog, error) {
	name, conf := r.conf.Remote(id)
	r.mu.Lock()
	own := r.open[name]
	r.mu.Unlock()
	if conf == nil || own == nil {
		return nil, fmt.Errorf("no remote %q", id)
	}
	own.mu.Lock()
	defer own.mu.Unlock()
	if own.catalog != nil {
		return own.catalog, nil
	}
	fsys, err := r.connect(ctx, name, conf)
	if err != nil {
		return nil, err
	}
	opts, err := conf.Catalog(r.log)
	if err == nil {
		own.catalog, err = catalog.Open(ctx, fsys, opts)
	}
	if err != nil {
		return nil, errors.Join(err, fsys.Close())
	}
	own.fsys = fsys
	return own.catalog, nil
}

// connect opens the storage. It must be the one that the URL led to at first: a mount
// that is not there, or another disk, is not filled with backups.
func (r *remotes) connect(ctx context.Context, name string, conf *config.Remote) (remote.Filesystem, error) {
	known := r.state.identityOf(name, conf.URL)
	opts, err := conf.Options(known, r.log)
	if err != nil {
		return nil, err
	}
	fsys, err := all.Opener().Open(ctx, conf.URL, opts)
	if errors.Is(err, remote.ErrOtherStorage) {
		return nil, fmt.Errorf("%w; if it was replaced on purpose, remove it from %s", err, r.state.remotes())
	}
	switch {
	case err != nil:
		return nil, err
	case r.state.held == nil:
		return remote.ReadOnly(fsys), nil
	case known != "":
		return fsys, nil
	}
	id, err := remote.Identify(ctx, fsys)
	if err == nil {
		err = r.state.remember(name, conf.URL, id)
	}
	if err != nil {
		return nil, errors.Join(err, fsys.Close())
	}
	return fsys, nil
}
