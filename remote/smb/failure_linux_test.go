package smb

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
)

// patience is the Timeout of tests in which the server answers in the end, and
// short of those in which it does not.
const (
	patience = 20 * time.Second
	short    = time.Second
)

func TestAnErrorSaysWhichPartCannotBeReached(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir("data"), "file"), nil, 0o666))
	wrong, gone := *s, *s
	wrong.Password = "hunter2"
	closed, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	gone.Port = closed.Addr().(*net.TCPAddr).Port
	for _, c := range []struct {
		server *testenv.Samba
		path   string
		part   remote.Part
		is     error
	}{
		{&gone, "data", remote.PartHost, remote.ErrUnavailable},
		{&wrong, "data", remote.PartLogin, fs.ErrPermission},
		{s, "none", remote.PartShare, fs.ErrNotExist},
		{s, "denied", remote.PartShare, fs.ErrPermission},
		{s, "", remote.PartShare, fs.ErrInvalid},
		{s, "data/none/x", remote.PartFolder, fs.ErrNotExist},
		{s, "data/file", remote.PartFolder, nil},
	} {
		_, err := tryMount(t.Context(), c.server, c.path, patience)
		var unreachable *remote.UnreachableError
		require.ErrorAs(t, err, &unreachable, c.path)
		require.Equal(t, c.part, unreachable.Part, "%v", err)
		if c.is != nil {
			require.ErrorIs(t, err, c.is)
		}
		require.NotContains(t, err.Error(), c.server.Password)
	}
}

func TestAFolderIsMadeOnRequestOnlyAndIsTheRoot(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	a := &remote.Address{Scheme: "smb", Host: "127.0.0.1", Port: s.Port, Username: s.User, Password: remote.Secret(s.Password), Path: "data/a/b"}
	fsys, err := Open(t.Context(), a, &remote.Options{Create: true})
	require.NoError(t, err)
	defer fsys.Close()
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", []byte("x")))
	require.FileExists(t, filepath.Join(s.Dir("data"), "a", "b", "f"))
	require.NotContains(t, fsys.String(), s.Password)
	space, err := fsys.Space(t.Context())
	require.NoError(t, err)
	require.Positive(t, space.Free)
}

func TestSpaceIsThatOfTheDisk(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	s.FillableShare(8 << 20)
	space, err := mount(t, s, "full", patience).Space(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(8<<20), space.Total)
}

func TestEncryptionCanBeRequired(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	open := func(share, option string) error {
		a := &remote.Address{Scheme: "smb", Host: "127.0.0.1", Port: s.Port, Username: s.User, Password: remote.Secret(s.Password), Path: share}
		a.Query = map[string][]string{"encrypt": {option}}
		fsys, err := Open(t.Context(), a, nil)
		if err != nil {
			return err
		}
		defer fsys.Close()
		return remote.WriteFile(t.Context(), fsys, "f", []byte("x"))
	}
	require.NoError(t, open("enc", "require"))
	require.ErrorIs(t, open("data", "require"), errClear)
	require.Error(t, open("data", "maybe"))
}

func TestAChangedPasswordIsSaidAtOnceAndNotTriedAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	fsys := mount(t, s, "data", patience)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", []byte("x")))
	s.SetPassword("another")
	_, err := fsys.Stat(t.Context(), "f")
	require.NoError(t, err, "the session goes on")
	s.Kill()
	s.Start()
	for range 2 {
		_, err = fsys.Stat(t.Context(), "f")
		require.ErrorIs(t, err, fs.ErrPermission)
		var unreachable *remote.UnreachableError
		require.ErrorAs(t, err, &unreachable)
		require.Equal(t, remote.PartLogin, unreachable.Part)
	}
	require.Error(t, fsys.link.refused)
}

func TestAServerThatIsFrozenIsGivenUpAndUsedAgainWhenItGoesOn(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	fsys := mount(t, s, "data", short)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", []byte("x")))
	s.Freeze()
	_, err := fsys.Stat(t.Context(), "f")
	require.ErrorIs(t, err, remote.ErrUnavailable)
	_, err = fsys.Stat(t.Context(), "f") // the login is not answered either
	require.ErrorIs(t, err, remote.ErrUnavailable)
	s.Resume()
	require.Eventually(t, func() bool {
		_, err := fsys.Stat(t.Context(), "f")
		return err == nil
	}, 30*time.Second, time.Millisecond)
}

func TestARequestSurvivesAServerThatIsFrozenForAMoment(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	fsys := mount(t, s, "enc", patience)
	w, err := remote.Create(t.Context(), fsys, "f")
	require.NoError(t, err)
	s.Freeze()
	content := noise(3 << 20)
	done := make(chan error)
	go func() {
		_, err := w.Write(content)
		done <- errors.Join(err, w.Commit())
	}()
	waitOwed(t, fsys)
	s.Resume()
	require.NoError(t, <-done)
	requireContent(t, fsys, "f", content)
}

// waitOwed waits until the server owes an answer.
func waitOwed(t *testing.T, fsys *FS) {
	t.Helper()
	sess, err := fsys.files.get(t.Context())
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, owes := sess.quiet(); return owes }, patience, time.Millisecond)
}

func requireContent(t *testing.T, fsys remote.Filesystem, name string, want []byte) {
	t.Helper()
	got, err := remote.ReadFile(t.Context(), fsys, name, int64(len(want))+1)
	require.NoError(t, err)
	require.True(t, bytes.Equal(got, want), "%s has %d bytes, want %d", name, len(got), len(want))
}

func TestEveryCallReturnsWhenItsContextEndsThoughTheServerIsFrozen(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	fsys := mount(t, s, "data", patience)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", noise(1<<20)))
	cause := errors.New("the caller went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	file, err := fsys.OpenFile(ctx, "f", os.O_RDWR)
	require.NoError(t, err)
	s.Freeze()
	defer s.Resume()
	p := make([]byte, 1<<20)
	calls := []func() error{
		func() error { _, err := fsys.Stat(ctx, "f"); return err },
		func() error { _, err := fsys.ReadDir(ctx, "."); return err },
		func() error { _, err := fsys.OpenFile(ctx, "f", os.O_RDONLY); return err },
		func() error { _, err := fsys.OpenFile(ctx, "new", createNew); return err },
		func() error { return fsys.Mkdir(ctx, "d") },
		func() error { return fsys.Remove(ctx, "g") },
		func() error { return fsys.RemoveAll(ctx, "g") },
		func() error { return fsys.Rename(ctx, "f", "g") },
		func() error { return fsys.RenameNoReplace(ctx, "f", "g") },
		func() error { return fsys.Touch(ctx, "f", time.Now()) },
		func() error { _, err := fsys.Space(ctx); return err },
		func() error { _, err := file.ReadAt(p[:1], 0); return err },
		func() error { _, err := file.WriteAt(p, 0); return err },
		func() error { _, err := file.Stat(); return err },
		func() error { return file.Truncate(1) },
		file.Sync,
	}
	errs := make([]error, len(calls))
	var all, begun sync.WaitGroup
	for i, call := range calls {
		begun.Add(1)
		all.Go(func() { begun.Done(); errs[i] = call() })
	}
	begun.Wait()
	waitOwed(t, fsys)
	cancel(cause)
	all.Wait()
	for i, err := range errs {
		require.ErrorIs(t, err, cause, "call %d", i)
	}
	clear(p) // under the race detector: nothing writes or reads it any more
}

func TestReadsGoOnAfterTheServerWasKilled(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	fsys := mount(t, s, "enc", patience)
	content := noise(2 << 20)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", content))
	file, err := fsys.OpenFile(t.Context(), "f", os.O_RDONLY)
	require.NoError(t, err)
	defer file.Close()
	s.Kill()
	got := make([]byte, len(content))
	done := make(chan error)
	go func() { _, err := file.ReadAt(got, 0); done <- err }()
	s.Start()
	require.NoError(t, <-done)
	require.True(t, bytes.Equal(got, content))

	require.NoError(t, remote.WriteFile(t.Context(), mount(t, s, "data", patience), "g", []byte("another file")))
	s.Kill()
	require.NoError(t, os.Rename(filepath.Join(s.Dir("data"), "g"), filepath.Join(s.Dir("data"), "f")))
	s.Start()
	_, err = file.ReadAt(got, 0)
	require.ErrorIs(t, err, errReplaced, "never two files in one")
}

func TestUnsyncedWritesAreLostWithTheConnectionAndSyncedOnesAreNot(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	fsys := mount(t, s, "data", patience)
	synced, err := fsys.OpenFile(t.Context(), "synced", createNew)
	require.NoError(t, err)
	dirty, err := fsys.OpenFile(t.Context(), "dirty", createNew)
	require.NoError(t, err)
	for _, f := range []remote.File{synced, dirty} {
		_, err := f.WriteAt([]byte("one"), 0)
		require.NoError(t, err)
	}
	require.NoError(t, synced.Sync())
	sess, err := fsys.files.get(t.Context())
	require.NoError(t, err)
	s.Kill()
	<-sess.life.Done() // a write under way would be lost too
	s.Start()
	_, err = synced.WriteAt([]byte("two"), 3)
	require.NoError(t, err)
	require.NoError(t, errors.Join(synced.Sync(), synced.Close()))
	requireContent(t, fsys, "synced", []byte("onetwo"))

	for range 2 {
		_, err = dirty.WriteAt([]byte("two"), 3)
		require.ErrorIs(t, err, remote.ErrLost)
		require.ErrorIs(t, dirty.Sync(), remote.ErrLost)
	}
	require.NoError(t, dirty.Close())
	require.ErrorIs(t, dirty.Close(), fs.ErrClosed)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "dirty", []byte("anew")))
}

func TestASyncDoesNotCountAWriteThatIsUnderWay(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	fsys := mount(t, s, "enc", patience)
	opened, err := fsys.OpenFile(t.Context(), "f", createNew)
	require.NoError(t, err)
	file := opened.(*File) //nolint:forcetypeassert // as OpenFile makes it
	s.Freeze()
	done := make(chan error)
	go func() { _, err := file.WriteAt([]byte("one"), 0); done <- err }()
	waitOwed(t, fsys)
	synced := make(chan error)
	go func() { synced <- file.Sync() }()
	require.Eventually(t, func() bool { return owed(t, fsys) == 2 }, patience, time.Millisecond)
	s.Resume()
	require.NoError(t, errors.Join(<-done, <-synced))

	sess, err := fsys.files.get(t.Context())
	require.NoError(t, err)
	s.Kill()
	<-sess.life.Done()
	s.Start()
	require.ErrorIs(t, file.Sync(), remote.ErrLost, "the sync may have been the first")
	require.NoError(t, file.Close())
}

// owed is how many answers the server owes.
func owed(t *testing.T, fsys *FS) int {
	t.Helper()
	sess, err := fsys.files.get(t.Context())
	require.NoError(t, err)
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.owed
}

func TestAServerThatStaysAwayFailsEveryCall(t *testing.T) {
	t.Parallel()
	s := testenv.StartSamba(t)
	fsys := mount(t, s, "data", short)
	require.NoError(t, remote.WriteFile(t.Context(), fsys, "f", []byte("x")))
	file, err := fsys.OpenFile(t.Context(), "f", os.O_RDONLY)
	require.NoError(t, err)
	s.Kill()
	var all sync.WaitGroup
	for _, call := range []func() error{
		func() error { _, err := fsys.Stat(t.Context(), "f"); return err },
		func() error { _, err := fsys.ReadDir(t.Context(), "."); return err },
		func() error { return fsys.Mkdir(t.Context(), "d") },
		func() error { return fsys.Rename(t.Context(), "f", "g") },
		func() error { _, err := file.ReadAt(make([]byte, 1), 0); return err },
	} {
		all.Go(func() {
			if err := call(); !errors.Is(err, remote.ErrUnavailable) {
				t.Errorf("want ErrUnavailable, got %v", err)
			}
		})
	}
	all.Wait()
	require.NoError(t, file.Close())
	require.NoError(t, fsys.Close())
	_, err = fsys.Stat(t.Context(), "f")
	require.ErrorIs(t, err, fs.ErrClosed)
}

func TestNamesThatCannotBeHeldAreRefusedUnasked(t *testing.T) {
	t.Parallel()
	f := &FS{} // no server to ask
	for _, name := range []string{"a:b", "a?", "a*", "<a", "a>", "a|", `"a`, `a\b`, "a.", "a ", "d/con", "NUL.txt", "com1", "lpt9.json", "a\x01", strings.Repeat("n", 256)} {
		_, err := f.Stat(t.Context(), name)
		require.ErrorIs(t, err, fs.ErrInvalid, name)
		require.ErrorIs(t, f.Mkdir(t.Context(), name), fs.ErrInvalid, name)
		require.ErrorIs(t, f.Rename(t.Context(), "x", name), fs.ErrInvalid, name)
	}
	for _, name := range []string{".", "com", "com10", "console", "a.b c", "..a", strings.Repeat("n", 255)} {
		require.NoError(t, checkName("stat", name), name)
	}
}
