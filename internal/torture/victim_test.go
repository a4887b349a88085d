package torture_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

const (
	childVar = "XENBACKUP_TORTURE_CHILD" // what the child process works on, as JSON
	seedVar  = "XENBACKUP_SEED"          // repeats a run that failed

	committed = "committed" // what a child says when a point is acknowledged

	parallel = "test.parallel"
)

// orders is what a child process is told.
type orders struct {
	Task string // see perform
	Dir  string // the folder that is the repository

	// of the tasks "backup" and "hold"
	Guest      guest
	Generation int
	HoldAt     int // before which step "hold" waits for a line

	// of the task "merge"
	VM  string
	Key string

	// of the task "job"
	URL, Username, Password string

	// of the tasks "run" and "recover", besides
	State, Mode, Settings string
	DieAt                 int  // the change of the pool just before which the child kills itself
	DieAfter              bool // just after it

	// The child kills itself just before the nth change of the repository; with Torn,
	// after half of the change before that, if it is a write.
	KillAt int
	Torn   bool
}

// TestMain makes the test binary its own child: a process that can be killed.
func TestMain(m *testing.M) {
	if text := os.Getenv(childVar); text != "" {
		if err := obey(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	isGiven := false
	flag.Visit(func(f *flag.Flag) { isGiven = isGiven || f.Name == parallel })
	if !isGiven { // most of the time these tests wait, for locks of the dead to be abandoned
		_ = flag.Set(parallel, "6")
	}
	os.Exit(m.Run())
}

func obey(text string) (err error) {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	folder, err := local.Open(o.Dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	var fsys remote.Filesystem = folder
	if o.KillAt > 0 {
		faulty := remotetest.NewFaulty(folder)
		faulty.CallAt(o.KillAt, dieNow, remotetest.Mutating()...)
		if o.Torn {
			faulty.FailAt(o.KillAt-1, io.ErrShortWrite, remotetest.Mutating()...)
		}
		fsys = faulty
	}
	err = o.perform(context.Background(), fsys)
	if o.Torn && errors.Is(err, io.ErrShortWrite) { // there was no change after that one
		dieNow()
	}
	return err
}

func (o *orders) perform(ctx context.Context, fsys remote.Filesystem) error {
	switch o.Task {
	case "job":
		return o.runJob(ctx, fsys)
	case "run", "recover":
		return o.runWithState(ctx, fsys)
	case "backup":
		return o.Guest.backup(ctx, fsys, o.Generation, func() { fmt.Println(committed) })
	case "hold":
		return o.hold(ctx, fsys)
	case "merge":
		return mergeVM(ctx, fsys, o.VM, remote.Secret(o.Key))
	}
	return fmt.Errorf("no such task: %q", o.Task)
}

// dieNow kills the process as the kernel does when memory runs out.
func dieNow() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		_ = self.Kill()
	}
	select {}
}

// mergeVM does the second half of a job for any VM.
func mergeVM(ctx context.Context, fsys remote.Filesystem, vm string, key remote.Secret) (err error) {
	c, err := catalog.Open(ctx, fsys, &catalog.Options{Key: key, LockWait: time.Minute})
	if err != nil {
		return err
	}
	s, err := c.LockVM(ctx, vm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(ctx)) }()
	return guest{}.merge(ctx, s)
}

// child is a process that carries out orders.
type child struct {
	*exec.Cmd
	output strings.Builder
}

func newChild(t *testing.T, o *orders) *child {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	c := &child{Cmd: exec.CommandContext(t.Context(), os.Args[0])}
	c.Env = append(os.Environ(), childVar+"="+string(text), "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0") // it sleeps a second otherwise
	c.Stdout, c.Stderr = &c.output, &c.output
	return c
}

// end waits for the child; false when it was killed. That it failed by itself ends the
// test.
func (c *child) end(t *testing.T) (finished bool) {
	t.Helper()
	err := c.Wait()
	if err == nil {
		return true
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	require.True(t, ok && exit.ExitCode() == -1, "child failed by itself: %v: %s", err, &c.output)
	return false
}

// run lets the child come to its end, whatever that is.
func (c *child) run(t *testing.T) (finished bool) {
	t.Helper()
	require.NoError(t, c.Start())
	return c.end(t)
}

// said tells whether the child acknowledged its point.
func (c *child) said(word string) bool { return strings.Contains(c.output.String(), word) }

// seeded is the seed of a test, which seedVar repeats, and which is told.
func seeded(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedVar); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("%s=%d repeats it", seedVar, seed)
	return seed
}

// number is how often a test does something: what the variable says, or otherwise as a
// smoke.
func number(t *testing.T, variable string, smoke int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return smoke
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, variable)
	return n
}

// scratch is a directory in memory, if there is one: what a process leaves when it is killed
// does not depend on the disk, and syncing a disk takes most of the time.
func scratch(t *testing.T) string {
	t.Helper()
	const memory = "/dev/shm"
	folder, err := local.Open(memory, nil)
	if err != nil {
		return t.TempDir()
	}
	defer folder.Close()
	space, err := folder.Space(t.Context())
	if err != nil || space.Free < 1<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "xenbackup-torture") //nolint:usetesting // it is not in memory
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func openFolder(t *testing.T, dir string) *local.FS {
	t.Helper()
	folder, err := local.Open(dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, folder.Close()) })
	return folder
}
