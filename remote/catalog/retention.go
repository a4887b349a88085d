package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
)

// Retention says which points of a schedule are kept. Each mode is counted for
// itself, as Xen Orchestra does.
type Retention struct {
	ScheduleID string
	Mode       string    // "": of all modes
	Keep       int       // how many of the newest; at least 1
	LongTerm   *LongTerm // what is kept besides; nil is nothing
	// Before: the points are counted before a run, whose new point will be one of
	// Keep. Otherwise the newest is the one that the run has written. Long-term
	// retention, too, counts without the point of the run, as Xen Orchestra does.
	Before bool
	// AtMost is how many points are deleted in one go, the oldest ones; 0 is all.
	AtMost int
}

// check refuses what cannot be counted, and what would empty a repository.
func (r *Retention) check() error {
	if r.Keep < 1 || r.AtMost < 0 {
		return fmt.Errorf("catalog: %w: %d points kept, at most %d deleted", ErrRetention, r.Keep, r.AtMost)
	}
	if r.LongTerm != nil {
		return r.LongTerm.check()
	}
	return nil
}

// Fate is what a [Retention] means for one point, and why.
type Fate struct {
	Point  *Point
	Keep   bool
	Reason string
}

// Plan tells the fate of every point, in the order given. Points of other
// schedules are kept. A Retention that cannot be, such as a Keep below 1, keeps
// all: retention never empties a repository.
func Plan(points []*Point, r Retention) []Fate {
	fates := make([]Fate, len(points))
	place := make(map[*Point]*Fate, len(points))
	byMode := map[string][]*Point{}
	invalid := r.check()
	for i, p := range points {
		fates[i] = Fate{Point: p, Keep: true}
		place[p] = &fates[i]
		switch {
		case p.Metadata.ScheduleID != r.ScheduleID:
			fates[i].Reason = "another schedule"
		case r.Mode != "" && r.Mode != p.Metadata.Mode:
			fates[i].Reason = "another mode"
		case invalid != nil:
			fates[i].Reason = invalid.Error()
		default:
			byMode[p.Metadata.Mode] = append(byMode[p.Metadata.Mode], p)
		}
	}
	for mode, group := range byMode {
		r.judge(mode, newestFirst(group), place)
	}
	r.spare(points, place)
	return fates
}

// judge tells the fate of all points of one mode of the schedule.
func (r *Retention) judge(mode string, group []*Point, place map[*Point]*Fate) {
	newest, counted := r.Keep, group
	if r.Before {
		newest-- // the point to come is one of them
	} else {
		counted = group[1:]
	}
	var longTerm map[*Point][]string
	if r.LongTerm != nil {
		longTerm = r.LongTerm.buckets(counted)
	}
	for rank, p := range group {
		f := place[p]
		switch buckets := longTerm[p]; {
		case rank < newest:
			f.Reason = fmt.Sprintf("number %d of the %s points, counted from the newest; %d are kept", rank+1, mode, newest)
		case buckets != nil:
			f.Reason = "the oldest of " + strings.Join(buckets, ", ")
		default:
			f.Keep = false
			f.Reason = fmt.Sprintf("number %d of the %s points, counted from the newest; %d are kept", rank+1, mode, newest)
			if r.LongTerm != nil {
				f.Reason += ", and no day, week, month or year needs it"
			}
		}
	}
}

// spare keeps those that are too many to be deleted in one go.
func (r *Retention) spare(points []*Point, place map[*Point]*Fate) {
	if r.AtMost < 1 {
		return
	}
	left := r.AtMost
	for _, p := range slices.Backward(newestFirst(points)) {
		f := place[p]
		if f.Keep {
			continue
		}
		if left > 0 {
			left--
			continue
		}
		f.Keep = true
		f.Reason += fmt.Sprintf("; spared, since %d older ones go first", r.AtMost)
	}
}

// newestFirst is a sorted copy.
func newestFirst(points []*Point) []*Point {
	return slices.SortedStableFunc(slices.Values(points), func(a, b *Point) int { return comparePoints(b, a) })
}

// comparePoints orders by time, oldest first.
func comparePoints(a, b *Point) int {
	return cmp.Or(cmp.Compare(a.Metadata.Timestamp, b.Metadata.Timestamp), cmp.Compare(a.ID, b.ID))
}

// Expire deletes the points that r does not keep, the newest of them first, so
// that what an interruption leaves is an unbroken row; it returns those that it
// deleted. Of a delta point only the JSON goes: [Session.Merge] then merges and
// removes disks that nothing refers to any more. Of a full point the archive
// and its checksum go too, once the removal of the JSON is durable.
//
// As long as some point of the VM cannot be read, nothing is deleted, and the
// error is a [*PointError]: that point may be one that counts. A point that the
// storage protects (fs.ErrPermission), or that somebody reads under a [Lease], is passed
// over with a warning. Any other error ends it.
func (s *Session) Expire(ctx context.Context, r Retention) (expired []*Point, err error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	var points []*Point
	for p, err := range s.c.scan(ctx, s.vm) {
		if err != nil {
			return nil, err
		}
		points = append(points, p)
	}
	slices.SortStableFunc(points, comparePoints)
	// The points that are kept must be durable before the others go: whoever
	// committed the newest may have been killed before that.
	if err := remote.SyncDir(ctx, s.fsys, s.dir); err != nil {
		return nil, fmt.Errorf("catalog: vm %s: %w", s.vm, err)
	}
	fates := Plan(points, r)
	if !slices.ContainsFunc(fates, func(f Fate) bool { return !f.Keep }) {
		return nil, nil
	}
	ch, err := s.beginChange(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ch.end(ctx)) }()
	cache, err := s.beginCache(ctx)
	if err != nil {
		return nil, err
	}
	defer cache.saveLate(ctx)
	for _, f := range slices.Backward(fates) {
		if f.Keep {
			continue
		}
		if ch.readers[f.Point.ID] {
			s.c.log.WarnContext(ctx, "point left, since it is being read", "point", f.Point.ID)
			continue
		}
		err := s.deletePoint(ctx, f.Point, cache)
		if errors.Is(err, fs.ErrPermission) {
			s.c.log.WarnContext(ctx, "protected point left", "point", f.Point.ID, "error", err)
			continue
		}
		if err != nil {
			return expired, err
		}
		expired = append(expired, f.Point)
	}
	return expired, nil
}

// Delete deletes one point, as Expire does. An unreadable JSON can be deleted
// too: whoever names it has decided. A missing point gives fs.ErrNotExist, one that
// somebody reads under a [Lease], [ErrLeased].
func (s *Session) Delete(ctx context.Context, id string) (err error) {
	vm, file, err := splitID(id)
	if err != nil {
		return err
	}
	if vm != s.vm {
		return fmt.Errorf("catalog: point %s is not of vm %s: %w", id, s.vm, ErrInvalidName)
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	name := path.Join(s.dir, file)
	p, err := s.c.readPoint(ctx, name)
	if errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
		return err
	}
	if err != nil {
		p = &Point{ID: name}
	}
	ch, err := s.beginChange(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ch.end(ctx)) }()
	if ch.readers[name] {
		return fmt.Errorf("catalog: point %s: %w", name, ErrLeased)
	}
	cache, err := s.beginCache(ctx)
	if err != nil {
		return err
	}
	defer cache.saveLate(ctx)
	return s.deletePoint(ctx, p, cache)
}

// deletePoint makes the point cease to be, durably, and then removes what only
// it had. After a crash in between, the archive belongs to no point, and
// [Session.Merge] removes it.
func (s *Session) deletePoint(ctx context.Context, p *Point, cache *cacheKeeper) error {
	cache.put(p.ID, nil) // whether it is there is to be seen
	if err := s.fsys.Remove(ctx, p.ID); err != nil {
		return fmt.Errorf("catalog: point %s: %w", p.ID, err)
	}
	if err := remote.SyncDir(ctx, s.fsys, s.dir); err != nil {
		return fmt.Errorf("catalog: point %s: %w", p.ID, err)
	}
	cache.forget(p.ID)
	for _, rel := range p.Metadata.VHDs {
		if name, err := within(s.dir, s.dir, rel); err == nil {
			s.unneeded(name)
		}
	}
	if err := removeEvidence(ctx, s.fsys, p.ID); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if p.Metadata.Mode != ModeFull {
		return nil
	}
	archive := strings.TrimSuffix(path.Base(p.ID), ".json") + ".xva"
	if path.Clean(p.Metadata.XVA) != archive {
		s.c.log.WarnContext(ctx, "archive with an unusual name left", "point", p.ID)
		return nil
	}
	for _, name := range []string{archive, archive + ".checksum"} {
		if err := s.fsys.Remove(ctx, path.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("catalog: point %s: %w", p.ID, err)
		}
	}
	return removeEvidence(ctx, s.fsys, path.Join(s.dir, archive))
}
