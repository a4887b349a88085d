package smb

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
)

// dying is a network that breaks for good after a number of messages.
type dying struct{ left atomic.Int64 }

var errDead = errors.New("the machine is dead")

func (d *dying) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if d.left.Load() <= 0 {
		return nil, errDead
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return &dyingConn{conn, d}, err
}

type dyingConn struct {
	net.Conn
	d *dying
}

func (c *dyingConn) Write(p []byte) (int, error) {
	if len(p) > prefixSize && c.d.left.Add(-1) < 0 {
		_ = c.Close()
		return 0, errDead
	}
	return c.Conn.Write(p)
}

// TestACrashAtAnyStepOfAReplacementLosesNothing ends the machine after each
// message of a Rename, and looks at what another one then finds.
func TestACrashAtAnyStepOfAReplacementLosesNothing(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	survivor := mount(t, s, "data", patience)
	states := map[string]int{}
	for messages := int64(1); ; messages++ {
		require.Less(t, messages, int64(200))
		require.NoError(t, remote.WriteFile(t.Context(), survivor, "f", []byte("old")))
		require.NoError(t, remote.WriteFile(t.Context(), survivor, "new", []byte("new")))
		err := renameAndDie(t, s, messages)
		states[serverState(t, s)]++
		for _, look := range []func() error{
			func() error { _, err := survivor.Stat(t.Context(), "f"); return err },
			func() error { _, err := survivor.ReadDir(t.Context(), "."); return err },
			func() error { _, err := remote.ReadFile(t.Context(), survivor, "f", 10); return err },
		} {
			require.NoError(t, look(), "after %d messages", messages)
		}
		got, readErr := remote.ReadFile(t.Context(), survivor, "f", 10)
		require.NoError(t, readErr)
		want := map[bool][]string{true: {"new"}, false: {"old", "new"}}[err == nil]
		require.Contains(t, want, string(got), "after %d messages: %v", messages, err)
		entries, listErr := os.ReadDir(s.Dir("data"))
		require.NoError(t, listErr)
		for _, e := range entries {
			require.Contains(t, []string{"f", "new"}, e.Name(), "after %d messages", messages)
		}
		if err == nil && messages > 20 {
			break
		}
	}
	require.Positive(t, states["aside, no name"], "%v", states)
	require.Positive(t, states["aside, name"], "%v", states)
	require.Positive(t, states["name"], "%v", states)
}

// renameAndDie renames new over f on a machine with so many messages to live.
func renameAndDie(t *testing.T, s *testenv.Samba, messages int64) error {
	t.Helper()
	const login = 4 // negotiate, two of the session, share
	d := &dying{}
	d.left.Store(login + messages)
	a := &remote.Address{Scheme: "smb", Host: "127.0.0.1", Port: s.Port, Username: s.User, Password: remote.Secret(s.Password), Path: "data"}
	fsys, err := Open(t.Context(), a, &remote.Options{Timeout: patience, DialContext: d.dial})
	require.NoError(t, err)
	fsys.link.timeout = time.Millisecond // it will not come back
	err = fsys.Rename(t.Context(), "new", "f")
	d.left.Store(0)
	return errors.Join(err, fsys.Close())
}

func serverState(t *testing.T, s *testenv.Samba) string {
	t.Helper()
	state := ""
	asides, err := filepath.Glob(filepath.Join(s.Dir("data"), ".f.old-*"))
	require.NoError(t, err)
	if len(asides) > 0 {
		state = "aside, "
	}
	if _, err := os.Stat(filepath.Join(s.Dir("data"), "f")); err != nil {
		state += "no "
	}
	return state + "name"
}

func TestReadersNeverMissANameThatIsReplacedOverAndOver(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	writer, reader := mount(t, s, "data", patience), mount(t, s, "enc", patience) // the same folder
	writer.busy = patience
	require.NoError(t, remote.WriteFile(t.Context(), writer, "f", []byte{0}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() {
		defer close(done)
		for i := range byte(40) {
			if err := remote.WriteFile(ctx, writer, "f", []byte{i}); err != nil {
				done <- err
				return
			}
		}
	}()
	last := byte(0)
	for {
		select {
		case err := <-done:
			require.NoError(t, err)
			requireContent(t, reader, "f", []byte{39})
			return
		default:
		}
		_, err := reader.Stat(ctx, "f")
		require.NoError(t, err)
		got, err := remote.ReadFile(ctx, reader, "f", 10)
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.GreaterOrEqual(t, got[0], last)
		last = got[0]
	}
}

func TestAllWhoReplaceTheSameNameAtOnceSucceed(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	var writers sync.WaitGroup
	for i := range byte(3) {
		fsys := mount(t, s, "enc", patience)
		fsys.busy = patience
		writers.Go(func() {
			for range 12 {
				if err := remote.WriteFile(t.Context(), fsys, "f", []byte{i}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	fsys := mount(t, s, "enc", patience)
	entries, err := fsys.ReadDir(t.Context(), ".")
	require.NoError(t, err)
	require.Len(t, entries, 1)

	moved, err := fsys.stat(t.Context(), "f")
	require.NoError(t, err)
	aside := asideName("f", time.Now())
	require.NoError(t, os.Rename(filepath.Join(s.Dir("enc"), "f"), filepath.Join(s.Dir("enc"), aside)))
	require.NoError(t, fsys.landed(t.Context(), "f", moved), "the next one has put it aside")
	require.NoError(t, os.Remove(filepath.Join(s.Dir("enc"), aside)))
	require.ErrorIs(t, fsys.landed(t.Context(), "f", moved), fs.ErrNotExist)
}

func TestWhatWasRemovedDoesNotComeBack(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	ctx := t.Context()
	for name, lose := range map[string]func(*FS) error{
		"removed":      func(f *FS) error { return f.Remove(ctx, "d/f") },
		"moved away":   func(f *FS) error { return f.Rename(ctx, "d/f", "g") },
		"tree removed": func(f *FS) error { return remote.RemoveAll(ctx, f, "d") },
	} {
		t.Run(name, func(t *testing.T) {
			fsys := mount(t, s, "data", patience)
			require.NoError(t, remote.MkdirAll(ctx, fsys, "d"))
			require.NoError(t, remote.WriteFile(ctx, fsys, "d/f", []byte("new")))
			// What a crash before the last step of a replacement leaves.
			require.NoError(t, os.WriteFile(filepath.Join(s.Dir("data"), "d", filepath.Base(asideName("f", time.Now()))), []byte("old"), 0o666))
			require.NoError(t, os.Chmod(s.Dir("data")+"/d", 0o777))
			require.NoError(t, lose(mount(t, s, "data", patience)))
			_, err := fsys.Stat(ctx, "d/f")
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.NoError(t, fsys.RemoveAll(ctx, "d"))
		})
	}
}

// TestWhatADeadClientLeftDoesNotComeBack, though this one had looked before.
func TestWhatADeadClientLeftDoesNotComeBack(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	fsys := mount(t, s, "data", patience)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", []byte("new")))
	_, err := fsys.ReadDir(t.Context(), ".")
	require.NoError(t, err)
	require.True(t, fsys.settled.is("."))
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir("data"), asideName("f", time.Now())), []byte("old"), 0o666))
	fsys.settled.dirs["."] = time.Now().Add(-settledFor)
	require.NoError(t, fsys.Remove(t.Context(), "f"))
	_, err = fsys.Stat(t.Context(), "f")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestAnAsideCountsAsItsName(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	ctx := t.Context()
	fsys := mount(t, s, "data", patience)
	lay := func() {
		for i, content := range []string{"older", "old"} {
			require.NoError(t, remote.WriteFile(ctx, fsys, asideName("f", time.Unix(int64(i+1), 0)), []byte(content)))
		}
		fsys.settled.set(".", false)
	}
	lay()
	_, err := fsys.OpenFile(ctx, "f", createNew)
	require.ErrorIs(t, err, fs.ErrExist)
	requireContent(t, fsys, "f", []byte("old"))
	require.NoError(t, fsys.Remove(ctx, "f"))

	lay()
	require.NoError(t, remote.WriteFile(ctx, fsys, "g", []byte("new")))
	require.ErrorIs(t, fsys.RenameNoReplace(ctx, "g", "f"), fs.ErrExist)
	entries, err := fsys.ReadDir(ctx, ".")
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.NoError(t, fsys.Rename(ctx, "g", "f"))
	requireContent(t, fsys, "f", []byte("new"))
	onDisk, err := os.ReadDir(s.Dir("data"))
	require.NoError(t, err)
	require.Len(t, onDisk, 1)
}

func TestAReadOnlyUserReadsTheAside(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir("ro"), asideName("f", time.Now())), []byte("old"), 0o644))
	fsys := mount(t, s, "ro", patience)
	info, err := fsys.Stat(t.Context(), "f")
	require.NoError(t, err)
	require.Equal(t, "f", info.Name())
	requireContent(t, fsys, "f", []byte("old"))
	entries, err := fsys.ReadDir(t.Context(), ".")
	require.NoError(t, err)
	require.Equal(t, "f", entries[0].Name())
	require.Equal(t, "hello.txt", entries[1].Name())
}
