package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/config"
)

// reloaded is what became of the last attempt to reload the configuration.
type reloaded struct {
	mu  sync.Mutex
	at  time.Time // zero: there was none
	err error
}

var errRefused = errors.New("the configuration is wrong: the log says where; what was loaded before goes on")

// reload takes the changed configuration into use. What runs ends under the old one. One
// that is wrong, or whose addresses cannot be listened at, is refused, and changes
// nothing.
func (d *daemon) reload(ctx context.Context) {
	err := d.tryReload(ctx)
	if err != nil {
		d.log.ErrorContext(ctx, "not reloaded", "error", err)
	} else {
		conf := d.current().conf
		d.log.InfoContext(ctx, "reloaded", "jobs", len(conf.Jobs), "schedules", len(conf.Schedules), "runs", len(d.runs.Active()))
	}
	d.reloaded.mu.Lock()
	defer d.reloaded.mu.Unlock()
	d.reloaded.at, d.reloaded.err = time.Now(), err
}

func (d *daemon) tryReload(ctx context.Context) error {
	old := d.current().conf
	conf, problems := config.Load(old.File)
	for _, p := range problems {
		d.log.WarnContext(ctx, "configuration", "problem", p.String())
	}
	switch {
	case !config.OK(problems):
		return errRefused
	case conf.State != old.State:
		return errors.New("the key state cannot change while the program runs")
	}
	begin, err := d.listen(ctx, conf)
	if err != nil {
		return err
	}
	if err := d.adopt(conf); err != nil {
		return err
	}
	begin()
	d.coverage.look()
	return d.schedule(old, conf)
}

// last is when a reload was tried last, and why it was refused.
func (r *reloaded) last() (time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at, r.err
}
