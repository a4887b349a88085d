package remote_test

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
)

const lockerEnv = "XENBACKUP_TEST_LOCK_IN"

// TestMain makes this program the other process of the tests below: it locks and
// waits to be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(lockerEnv); dir != "" {
		lockUntilKilled(dir)
	}
	os.Exit(m.Run())
}

func lockUntilKilled(dir string) {
	fsys, err := local.Open(dir, nil)
	if err == nil {
		_, err = remote.AcquireLock(context.Background(), fsys, "xo-vm-backups/vm", nil)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("locked")
	select {}
}

func startLocker(t *testing.T) (*local.FS, *exec.Cmd) {
	t.Helper()
	dir := t.TempDir()
	fsys, err := local.Open(dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { fsys.Close() })
	require.NoError(t, remote.MkdirAll(t.Context(), fsys, "xo-vm-backups/vm"))
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), lockerEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked", strings.TrimSpace(line))
	return fsys, cmd
}

func TestTheLockOfAKilledProcessOfThisMachineIsTakenOverAtOnce(t *testing.T) {
	fsys, cmd := startLocker(t)
	now := &remote.LockOptions{Wait: -1}
	_, err := remote.AcquireLock(t.Context(), fsys, "xo-vm-backups/vm", now)
	require.ErrorIs(t, err, remote.ErrLocked, "it lives")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	lock, err := remote.AcquireLock(t.Context(), fsys, "xo-vm-backups/vm", now)
	require.NoError(t, err)
	require.NoError(t, lock.Check(t.Context()))
	require.NoError(t, lock.Release(t.Context()))
	entries, err := fsys.ReadDir(t.Context(), ".xenbackup/locks")
	require.NoError(t, err)
	require.Empty(t, entries)
}

// The record of a dead process must not break the lock that Xen Orchestra has
// taken over from it since.
func TestTheRecordOfADeadProcessSaysNothingAboutALaterLock(t *testing.T) {
	fsys, cmd := startLocker(t)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.NoError(t, fsys.Remove(t.Context(), "xo-vm-backups/vm.lock"))
	require.NoError(t, fsys.Mkdir(t.Context(), "xo-vm-backups/vm.lock"))
	require.NoError(t, fsys.Touch(t.Context(), "xo-vm-backups/vm.lock", time.Now()))
	_, err := remote.AcquireLock(t.Context(), fsys, "xo-vm-backups/vm", &remote.LockOptions{Wait: -1})
	require.ErrorIs(t, err, remote.ErrLocked)
	_, err = fsys.Stat(t.Context(), "xo-vm-backups/vm.lock")
	require.NotErrorIs(t, err, fs.ErrNotExist)
}
