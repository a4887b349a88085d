package nfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/nfs"
)

const (
	roundsVar = "XENBACKUP_ROUNDS" // how many rounds; a smoke of 3 when empty
	seedVar   = "XENBACKUP_SEED"   // repeats the accidents of a run that failed

	tortureTimeout = time.Second
	writers        = 3
)

// Whatever happens to the server while files are written: those committed have
// their content, a file that was replaced has the old or the new, and what fails
// fails with an error that says why.
func TestTortureCommitsNothingThatIsWrong(t *testing.T) {
	rounds, err := strconv.Atoi(env(roundsVar, "3"))
	require.NoError(t, err)
	seed, err := strconv.ParseUint(env(seedVar, strconv.FormatUint(rand.Uint64(), 10)), 10, 64)
	require.NoError(t, err)
	t.Logf("%d rounds; %s=%d repeats them", rounds, seedVar, seed)
	random := rand.New(rand.NewPCG(seed, 0))

	g, opts := ganesha(t)
	r := newRelay(t, g.Port, 0)
	opts.Port, opts.Timeout = r.port, tortureTimeout
	w := &world{server: g, relay: r, opts: opts, started: time.Now(), committed: map[string][]byte{}}
	accidents := []func(*testing.T, *rand.Rand){w.crash, w.freeze, w.cut, w.goAway, w.freezeForLong}
	failures := map[string]int{}
	for round := range rounds {
		w.round(t, random, round, accidents[round%len(accidents)], failures)
	}
	t.Logf("%d files committed, failures: %v, longest call %v", w.commits, failures, w.longest)
	require.NotZero(t, w.commits)
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// world is a server, and what must be on it.
type world struct {
	server  *testenv.Ganesha
	relay   *relay
	opts    *nfs.Options
	started time.Time // of the server

	mu        sync.Mutex
	writing   map[string]bool // temporary files of which no Sync was asked for
	committed map[string][]byte
	commits   int
	longest   time.Duration
}

// round lets writers write until an accident has happened and each of them has
// written a file after it, or failed.
func (w *world) round(t *testing.T, random *rand.Rand, round int, accident func(*testing.T, *rand.Rand), failures map[string]int) {
	t.Helper()
	fsys := open(t, testenv.ExportData, w.opts)
	w.writing = map[string]bool{}
	threshold := random.Int64N(8 << 20)
	var written atomic.Int64
	due, over := make(chan struct{}), make(chan struct{})
	var once sync.Once
	count := func(n int) {
		if written.Add(int64(n)) >= threshold {
			once.Do(func() { close(due) })
		}
	}
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		own := rand.New(rand.NewPCG(random.Uint64(), 1))
		wg.Go(func() {
			errs[i] = w.write(t.Context(), &watched{Filesystem: fsys, w: w}, own, fmt.Sprintf("file%d", i), over, count)
		})
	}
	<-due
	accident(t, random)
	close(over)
	wg.Wait()
	w.makeSureItRuns(t)
	for _, err := range errs {
		if err != nil {
			require.True(t, errors.Is(err, remote.ErrUnavailable) || errors.Is(err, remote.ErrLost), "round %d: %v", round, err)
			failures[kindOf(err)]++
		}
	}
	w.check(t, round)
	require.NoError(t, fsys.Close())
}

func kindOf(err error) string {
	if errors.Is(err, remote.ErrLost) {
		return "lost"
	}
	return "unavailable"
}

// write replaces a file over and over.
func (w *world) write(ctx context.Context, fsys remote.Filesystem, random *rand.Rand, name string, over <-chan struct{}, count func(int)) (failure error) {
	for last := false; !last; {
		select {
		case <-over:
			last = true
		default:
		}
		content := bytes.Repeat([]byte(strconv.FormatUint(random.Uint64(), 36)+" "), 1+random.IntN(100_000))
		begun := time.Now()
		err := w.writeOne(ctx, fsys, name, content, count)
		w.mu.Lock()
		w.longest = max(w.longest, time.Since(begun))
		if err == nil {
			w.committed[name] = content
			w.commits++
		} else if failure = errors.Join(failure, err); !errors.Is(err, remote.ErrLost) {
			// Whether the rename took place is unknown: either content is right.
			w.committed[name+"?"] = content
			last = true
		}
		w.mu.Unlock()
	}
	return failure
}

func (w *world) writeOne(ctx context.Context, fsys remote.Filesystem, name string, content []byte, count func(int)) error {
	out, err := remote.Create(ctx, fsys, name)
	if err != nil {
		return err
	}
	for len(content) > 0 {
		n := min(len(content), 300_000)
		if _, err := out.Write(content[:n]); err != nil {
			_ = out.Abort() // the server may be away: then the temporary file stays
			return err
		}
		count(n)
		content = content[n:]
	}
	return out.Commit()
}

// check compares what is on the server's disk, and what a new client reads.
func (w *world) check(t *testing.T, round int) {
	t.Helper()
	fsys := open(t, testenv.ExportData, w.opts)
	for name, want := range w.committed {
		if strings.HasSuffix(name, "?") {
			continue
		}
		onDisk, err := os.ReadFile(filepath.Join(w.server.Dir(), name))
		require.NoError(t, err)
		got, err := remote.ReadFile(t.Context(), fsys, name, 1<<30)
		require.NoError(t, err)
		require.True(t, bytes.Equal(onDisk, got), "round %d: %s reads other than it is on disk", round, name)
		perhaps := w.committed[name+"?"]
		if perhaps != nil && bytes.Equal(got, perhaps) {
			w.committed[name] = perhaps
		} else {
			require.True(t, bytes.Equal(got, want), "round %d: %s was committed and is wrong", round, name)
		}
		delete(w.committed, name+"?")
	}
	entries, err := fsys.ReadDir(t.Context(), ".")
	require.NoError(t, err)
	for _, e := range entries {
		if remote.IsTemp(e.Name()) {
			require.NoError(t, fsys.Remove(t.Context(), e.Name()))
		}
	}
	require.NoError(t, fsys.Close())
}

// crash kills the server, makes it lose what no client has asked it to sync, and
// starts it again.
func (w *world) crash(t *testing.T, random *rand.Rand) {
	t.Helper()
	w.server.Kill()
	w.mu.Lock()
	for name := range w.writing {
		file := filepath.Join(w.server.Dir(), name)
		info, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
			continue
		}
		require.NoError(t, err)
		require.NoError(t, os.Truncate(file, random.Int64N(info.Size())))
	}
	w.mu.Unlock()
	w.makeSureItRuns(t)
}

// makeSureItRuns starts a server that was killed. Its verifier is the second of
// its start, so that must be another one.
func (w *world) makeSureItRuns(t *testing.T) {
	t.Helper()
	if w.server.Running() {
		return
	}
	<-time.After(time.Until(w.started.Truncate(time.Second).Add(time.Second)))
	w.server.Start(t)
	w.started = time.Now()
}

// goAway kills the server for longer than its clients wait.
func (w *world) goAway(t *testing.T, random *rand.Rand) {
	t.Helper()
	w.server.Kill()
	<-time.After(tortureTimeout + time.Duration(random.Int64N(int64(time.Second))))
	w.crash(t, random)
}

func (w *world) freeze(t *testing.T, random *rand.Rand) {
	t.Helper()
	w.server.Freeze(t)
	<-time.After(time.Duration(random.Int64N(int64(tortureTimeout / 2))))
	w.server.Resume(t)
}

func (w *world) freezeForLong(t *testing.T, random *rand.Rand) {
	t.Helper()
	w.server.Freeze(t)
	<-time.After(tortureTimeout + time.Duration(random.Int64N(int64(time.Second))))
	w.server.Resume(t)
}

// cut breaks the connections, and leaves the server as it is.
func (w *world) cut(*testing.T, *rand.Rand) { w.relay.breakAll() }

// watched notes of which files no Sync was asked for.
type watched struct {
	remote.Filesystem
	w *world
}

func (f *watched) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	file, err := f.Filesystem.OpenFile(ctx, name, flag)
	if err != nil {
		return nil, err
	}
	f.w.setWriting(name, true)
	return &watchedFile{File: file, w: f.w, name: name}, nil
}

type watchedFile struct {
	remote.File
	w    *world
	name string
}

func (f *watchedFile) Sync() error {
	f.w.setWriting(f.name, false)
	return f.File.Sync()
}

func (w *world) setWriting(name string, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if on {
		w.writing[name] = true
	} else {
		delete(w.writing, name)
	}
}
