package catalog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/xenbackup/xenbackup/vhd"
)

// merge runs or resumes one merge in the directory d.
func (m *merger) merge(ctx context.Context, d *vdiDir, chain []string, resumed bool) error {
	youngest := path.Join(d.path, chain[len(chain)-1])
	if m.clean != nil && !m.clean.mayMerge(youngest, chain, resumed) {
		return nil
	}
	if !m.mayBegin(resumed) {
		m.deferred(youngest)
		return nil
	}
	if err := m.guarded(path.Base(youngest)); err != nil && !resumed {
		m.left(youngest, err)
		return nil
	}
	opts := &vhd.MergeOptions{Logger: m.s.c.log, Lost: m.change.lost(ctx)}
	if m.opts.Progress != nil {
		opts.Progress = func(done, total int64) { m.progress(youngest, done, total) }
	}
	if err := foresee(ctx, m.s.fsys, d.path, chain); err != nil {
		m.unknown(youngest, err)
		return err
	}
	res, err := vhd.Merge(ctx, &diskDir{m.s.fsys, d.path}, &vhd.MergePlan{Chain: chain}, opts)
	m.mu.Lock()
	m.bytes += res.Merged
	m.mu.Unlock()
	if errors.Is(err, ErrLeased) { // a reader waits: what was begun is finished another time
		m.left(youngest, err)
		m.block()
		return nil
	}
	if errors.Is(err, fs.ErrPermission) { // something guards the disk: a later session finishes what was begun
		m.left(youngest, err)
		d.leave = true
		return nil
	}
	if err != nil {
		err = fmt.Errorf("catalog: merge %s: %w", youngest, err)
		m.unknown(youngest, err)
		return err
	}
	err = settle(ctx, m.s.fsys, d.path, chain)
	if errors.Is(err, vhd.ErrMergeState) { // what was foreseen is not about this merge
		err = removeEvidence(ctx, m.s.fsys, youngest)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sizes[youngest] = res.Size
	m.report.Merged = append(m.report.Merged, MergedDisk{
		Path: m.rel(youngest), Chain: chain, Size: res.Size, Bytes: res.Merged, Resumed: resumed,
	})
	return err
}

// guarded returns an fs.ErrPermission for a disk that cannot be replaced for now: once
// begun, its merge would wait half done for as long as that.
func (m *merger) guarded(disk string) error {
	guard, err := m.guard()
	if err != nil || guard == nil {
		return err
	}
	if date, ok := leadingDate(disk); ok && time.Now().Before(date.Add(guard.Duration)) {
		return fmt.Errorf("guarded until %s: %w", FormatDate(date.Add(guard.Duration)), fs.ErrPermission)
	}
	return nil
}

// mayBegin tells whether the bounds of this run leave room for another merge. One
// that was begun is always finished.
func (m *merger) mayBegin(resumed bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.opts
	full := (o.AtMost > 0 && m.begun >= o.AtMost) || (o.MaxBytes > 0 && m.bytes >= o.MaxBytes) ||
		(o.MaxTime > 0 && time.Since(m.start) >= o.MaxTime)
	if full && !resumed {
		return false
	}
	m.begun++
	return true
}

func (m *merger) deferred(youngest string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Deferred = append(m.report.Deferred, m.rel(youngest))
}

func (m *merger) progress(youngest string, done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opts.Progress(m.rel(youngest), done, total)
}
