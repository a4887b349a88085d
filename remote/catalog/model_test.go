package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// model is a repository, what must be readable in it, and somebody who chooses what
// happens next.
type model struct {
	ctx    context.Context //nolint:containedctx // of the test
	m      *machine
	fsys   *remotetest.Crash
	pick   func(n int, what string) int
	listed []string // the dates of all points, as of the last look
	unsure []string // of these, whose commit was never reported as done: a power cut may take them
	story  []string // what happened
}

var modelFormats = []catalog.DiskFormat{catalog.FormatBrotli, catalog.FormatPlain, catalog.FormatFile, catalog.FormatGzip}

func newModel(ctx context.Context, pick func(n int, what string) int) (*model, error) {
	w := &model{ctx: ctx, m: newMachine(), fsys: remotetest.NewCrash(), pick: pick}
	w.m.opts = &catalog.Options{Format: modelFormats[min(pick(8, "format"), 5)%4]} // mostly small ones
	if w.m.opts.Format == catalog.FormatBrotli && pick(3, "encrypted") == 0 {
		w.m.opts.Key = "fedcba9876543210fedcba9876543210"
		if _, err := crypt.Init(ctx, w.fsys, w.m.opts.Key, nil); err != nil {
			return nil, err
		}
	}
	w.story = append(w.story, fmt.Sprintf("%s, encrypted: %t", w.m.opts.Format, w.m.opts.Key != ""))
	return w, remote.MkdirAll(ctx, w.fsys, testVMDir)
}

// step does one thing, perhaps on storage that fails meanwhile, and checks.
func (w *model) step() error {
	steps := []struct {
		name string
		do   func(remote.Filesystem) error
	}{
		{"backup, keep 1", w.backup(1)},
		{"backup, keep 2", w.backup(2)},
		{"backup, keep 3", w.backup(3)},
		{"backup, keep all", w.backup(99)},
		{"clean", w.clean},
		{"merge", w.merge},
		{"delete", w.remove},
		{"leavings of Xen Orchestra", w.leave},
		{"merge by Xen Orchestra", w.foreignMerge},
	}
	s := steps[w.pick(len(steps), "step")]
	fault, isCut := w.fault()
	w.story = append(w.story, s.name+" "+fault.name)
	faulty := remotetest.NewFaulty(w.fsys)
	fault.set(faulty)
	before := slices.Clone(w.listed)
	date := w.m.now
	err := s.do(faulty)
	failed := faulty.Fired() > 0
	faulty.Heal()
	if err != nil && !failed {
		return fmt.Errorf("without a fault: %w", err)
	}
	if isCut {
		w.fsys = w.fsys.PowerCut(rand.New(rand.NewPCG(uint64(w.pick(1<<30, "power cut")), 0)))
	}
	unlocked(w.fsys)
	return w.look(before, date, s.name, failed || isCut, isCut)
}

// look compares what is listed, and reads, with what must be.
func (w *model) look(before []string, snapshot int, name string, failed, isCut bool) error {
	got, err := w.m.check(w.ctx, w.fsys)
	if err != nil {
		return err
	}
	want := before
	if w.m.now > snapshot && !failed {
		want = append(slices.Clone(before), dates(w.m.now)...)
	}
	keep := 99
	if n, err := fmt.Sscanf(name, "backup, keep %d", &keep); err != nil || n < 1 {
		keep = 99
	}
	if name == "delete" || strings.HasPrefix(name, "merge by") {
		want = want[min(1, len(want)):]
	}
	want = want[max(0, len(want)-keep):]
	for _, date := range want {
		mayBeGone := failed && keep < 99 && w.isExpired(got, date, keep) || isCut && slices.Contains(w.unsure, date)
		if !slices.Contains(got, date) && !mayBeGone {
			return fmt.Errorf("point %s is lost: %v are left of %v", date, got, before)
		}
	}
	if !failed && len(got) != len(want) {
		return fmt.Errorf("%v are listed, not %v", got, want)
	}
	w.listed = got
	w.note(before, strings.HasPrefix(name, "backup"), failed)
	return nil
}

// note remembers the points that are there without having been promised. The next
// commit makes all of them durable.
func (w *model) note(before []string, isBackup, failed bool) {
	if isBackup && !failed {
		w.unsure = nil
	}
	if failed {
		for _, date := range w.listed {
			if !slices.Contains(before, date) {
				w.unsure = append(w.unsure, date)
			}
		}
	}
}

// isExpired tells whether a point that should be kept may be gone since a newer
// one, whose commit was reported as failed, counted.
func (w *model) isExpired(got []string, date string, keep int) bool {
	newer := 0
	for _, d := range got {
		if d > date {
			newer++
		}
	}
	return newer >= keep
}

type fault struct {
	name string
	set  func(*remotetest.Faulty)
}

// fault chooses what goes wrong: mostly nothing.
func (w *model) fault() (f fault, isCut bool) {
	kind := w.pick(12, "fault")
	if kind < 6 {
		return fault{"", func(*remotetest.Faulty) {}}, false
	}
	n := 1 + w.pick(120, "operation")
	errs := []error{syscall.EIO, syscall.ESTALE, syscall.EACCES, syscall.ETIMEDOUT}
	err := errs[w.pick(len(errs), "error")]
	switch kind {
	case 6:
		return fault{fmt.Sprintf("%v at %d", err, n), func(f *remotetest.Faulty) { f.FailAt(n, err) }}, false
	case 7:
		return fault{fmt.Sprintf("%v from %d", err, n), func(f *remotetest.Faulty) { f.FailFrom(n, err) }}, false
	case 8:
		return fault{fmt.Sprintf("full from %d", n), func(f *remotetest.Faulty) { f.FailFrom(1+n/4, syscall.ENOSPC, remotetest.Write) }}, false
	case 9:
		return fault{fmt.Sprintf("sync fails at %d", n), func(f *remotetest.Faulty) { f.FailAt(1+n/4, syscall.EIO, remotetest.Sync, remotetest.SyncDir) }}, false
	}
	set := func(f *remotetest.Faulty) { f.FailFrom(n, syscall.ENODEV, remotetest.Mutating()...) }
	return fault{fmt.Sprintf("death at %d, cut: %t", n, kind == 11), set}, kind == 11
}

func (w *model) backup(keep int) func(remote.Filesystem) error {
	return func(fsys remote.Filesystem) error {
		_, err := w.m.backup(w.ctx, fsys, keep)
		return err
	}
}

// session opens the catalog and locks the VM for do.
func (w *model) session(fsys remote.Filesystem, do func(*catalog.Catalog, *catalog.Session) error) (err error) {
	c, err := catalog.Open(w.ctx, fsys, w.m.opts)
	if err != nil {
		return err
	}
	s, err := c.LockVM(w.ctx, testVM)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(w.ctx)) }()
	return do(c, s)
}

func (w *model) clean(fsys remote.Filesystem) error {
	return w.session(fsys, func(_ *catalog.Catalog, s *catalog.Session) error {
		_, err := s.Clean(w.ctx, nil)
		return err
	})
}

func (w *model) merge(fsys remote.Filesystem) error {
	return w.session(fsys, func(_ *catalog.Catalog, s *catalog.Session) error {
		_, err := s.Merge(w.ctx, &catalog.MergeOptions{AtMost: w.pick(3, "at most")})
		return err
	})
}

// remove deletes the oldest point, and leaves its disks.
func (w *model) remove(fsys remote.Filesystem) error {
	return w.session(fsys, func(_ *catalog.Catalog, s *catalog.Session) error {
		if len(w.listed) == 0 {
			return nil
		}
		return s.Delete(w.ctx, path.Join(testVMDir, w.listed[0]+".json"))
	})
}

// end lets two cleans run, after which nothing may be left that no point needs, and
// nothing be missing; a third one empties the trash.
func (w *model) end() error {
	if err := w.prune(); err != nil {
		return err
	}
	for n := range 3 {
		if err := w.clean(w.fsys); err != nil {
			return fmt.Errorf("clean %d: %w", n+1, err)
		}
		if err := w.look(w.listed, w.m.now, "clean", false, false); err != nil {
			return fmt.Errorf("after clean %d: %w", n+1, err)
		}
		if n == 0 {
			continue
		}
		left, err := w.leaked()
		if err != nil || len(left) > 0 {
			return fmt.Errorf("left after clean %d: %v, %w", n+1, left, err)
		}
	}
	return w.session(w.fsys, func(_ *catalog.Catalog, s *catalog.Session) error {
		plan, err := s.Clean(w.ctx, nil)
		if err == nil && len(plan.Findings) > 0 {
			err = fmt.Errorf("found by the fourth clean: %s", plan)
		}
		return err
	})
}

// prune deletes the oldest points as long as two disks depend on one that no point
// refers to: a backup whose commit failed, and which is there all the same, has left such
// a fork, that is not garbage.
func (w *model) prune() error {
	for len(w.listed) > 1 {
		forked := false
		err := w.session(w.fsys, func(_ *catalog.Catalog, s *catalog.Session) error {
			plan, err := s.Clean(w.ctx, nil)
			if err != nil {
				return err
			}
			forked = slices.ContainsFunc(plan.Findings, func(f catalog.CleanFinding) bool {
				return f.Kind == catalog.KindDisk && f.State == catalog.StateValid && f.Action == catalog.ActionNone
			})
			return nil
		})
		if err != nil || !forked {
			return err
		}
		if err := w.remove(w.fsys); err != nil {
			return err
		}
		w.listed = w.listed[1:]
	}
	return nil
}

// leaked returns the files of the VM that no point needs.
func (w *model) leaked() ([]string, error) {
	c, err := catalog.Open(w.ctx, w.fsys, w.m.opts)
	if err != nil {
		return nil, err
	}
	var found []string
	used := map[string]bool{}
	for p, err := range c.Points(w.ctx, testVM) {
		if err != nil {
			return nil, err
		}
		used[p.ID] = true
		for _, name := range p.Metadata.VHDs {
			name = path.Join(testVMDir, name)
			used[name] = true
			if strings.HasSuffix(name, ".alias.vhd") {
				target, err := w.read(name)
				if err != nil {
					return nil, err
				}
				used[path.Join(path.Dir(name), target)] = true
			}
		}
	}
	err = walk(w.ctx, w.fsys, testVMDir, func(name string) {
		disk, _, _ := strings.Cut(name, ".vhd/")
		if path.Base(name) != "cache.json.gz" && !used[name] && !used[disk+".vhd"] || remote.IsTemp(name) {
			found = append(found, name)
		}
	})
	return found, err
}

// read returns a small file in clear.
func (w *model) read(name string) (string, error) {
	var fsys remote.Filesystem = w.fsys
	if w.m.opts.Key != "" {
		var err error
		if fsys, err = crypt.Open(w.ctx, w.fsys, w.m.opts.Key); err != nil {
			return "", err
		}
	}
	data, err := remote.ReadFile(w.ctx, fsys, name, 1024)
	return string(data), err
}

// play is one run of the model, in a bubble: however busy the machine is, no lock is lost
// to its clock.
func play(t *testing.T, steps int, pick func(n int, what string) int) (err error) {
	t.Helper()
	var panicked any // with it rapid ends a sequence
	synctest.Test(t, func(t *testing.T) {
		defer func() { panicked = recover() }()
		var w *model
		w, err = newModel(t.Context(), pick)
		for range steps {
			if err == nil {
				err = w.step()
			}
		}
		if err == nil {
			err = w.end()
		}
		if err != nil {
			err = fmt.Errorf("%w\nafter: %s", err, strings.Join(w.story, "\n       "))
		}
	})
	if panicked != nil {
		panic(panicked)
	}
	return err
}

// Whatever happens in whatever order, no point is lost, and nothing stays that no
// point needs. XENBACKUP_SEEDS says how many sequences there are, XENBACKUP_SEED
// repeats one.
func TestModelOfBackupsNeverLosesAndNeverLeaks(t *testing.T) {
	first, last := uint64(1), uint64(smoke(2, 32))
	if text := os.Getenv("XENBACKUP_SEEDS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
		first = rand.Uint64N(1 << 40)
		last = first + n - 1
	}
	if text := os.Getenv("XENBACKUP_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
		first, last = n, n
	}
	t.Logf("%d sequences, the first of seed %d", last-first+1, first)
	var next atomic.Uint64
	for range min(int(last-first+1), runtime.GOMAXPROCS(0)) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for seed := first + next.Add(1) - 1; seed <= last; seed = first + next.Add(1) - 1 {
				random := rand.New(rand.NewPCG(seed, 6))
				err := play(t, 12, func(n int, _ string) int { return random.IntN(n) })
				require.NoError(t, err, "XENBACKUP_SEED=%d repeats it", seed)
			}
		})
	}
}

func TestModelHoldsForShortSequences(t *testing.T) {
	count := 0
	rapid.Check(t, func(rt *rapid.T) {
		if count++; count > smoke(3, 43) {
			return // as many as the race detector allows
		}
		err := play(t, rapid.IntRange(1, 5).Draw(rt, "steps"), func(n int, what string) int {
			return rapid.IntRange(0, n-1).Draw(rt, what)
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}
