package testenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// aloneEnv marks the process that has the mounts of a test to itself.
const aloneEnv = "XENBACKUP_TEST_OWN_MOUNTS"

// Alone runs the test once more, in a process with a mount namespace of its own, and
// tells whether this is that process; the test returns when it is not. A container that
// starts meanwhile would otherwise keep a copy of what the test mounts. It needs root.
func Alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(aloneEnv) != "" {
		detachLoops(t)
		return true
	}
	if os.Getuid() != 0 {
		Missing(t, "mounting a disk needs root")
	}
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+pattern, "-test.v", "-test.timeout=0")
	cmd.Env = append(os.Environ(), aloneEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("in a process with mounts of its own: %v", err)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.SkipNow()
	}
	return false
}

// detachLoops lets go of the loop devices that other tests have mounted: they are not to
// stay mounted here when those unmount them.
func detachLoops(t *testing.T) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[0], "/dev/loop") {
			_ = unix.Unmount(f[1], unix.MNT_DETACH) // it may be gone
		}
	}
}

// LoopDisk is a disk in a file, with a file system that can be stopped as a power cut
// stops it.
type LoopDisk struct {
	Dir   string // where it is mounted
	image string
}

// NewLoopDisk makes a disk with a file system of the kind, "ext4" or "xfs", not mounted.
// It needs root. A test that cuts it should be [Alone].
func NewLoopDisk(t *testing.T, kind string) *LoopDisk {
	t.Helper()
	if os.Getuid() != 0 {
		Missing(t, "mounting a disk needs root")
	}
	mkfs := Require(t, "mkfs."+kind)
	work := t.TempDir()
	d := &LoopDisk{Dir: filepath.Join(work, "mnt"), image: filepath.Join(work, "image")}
	if err := d.format(t.Context(), mkfs); err != nil {
		t.Fatal(err)
	}
	if out, err := d.tryMount(t.Context()); err != nil {
		Missing(t, "cannot mount %s through a loop device here: %v: %s", kind, err, out)
	}
	t.Cleanup(func() { _ = unix.Unmount(d.Dir, unix.MNT_DETACH) }) // of a test that failed
	d.Unmount(t)
	return d
}

func (d *LoopDisk) format(ctx context.Context, mkfs string) error {
	if err := os.Mkdir(d.Dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(d.image, 384<<20); err != nil { // XFS wants 300 MiB
		return err
	}
	if out, err := exec.CommandContext(ctx, mkfs, "-q", d.image).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", mkfs, err, out)
	}
	return nil
}

func (d *LoopDisk) tryMount(ctx context.Context) ([]byte, error) {
	return exec.CommandContext(ctx, "mount", "-o", "loop", d.image, d.Dir).CombinedOutput()
}

// Mount mounts the disk: after a cut, what its journal has is recovered.
func (d *LoopDisk) Mount(t *testing.T) {
	t.Helper()
	if out, err := d.tryMount(t.Context()); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
}

// Unmount unmounts the disk; nobody may have a file of it open.
func (d *LoopDisk) Unmount(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "umount", d.Dir).CombinedOutput()
	if err != nil {
		t.Fatalf("umount: %v: %s", err, out)
	}
}

// Cut stops the file system at once: what its journal and caches hold in memory alone is
// gone. It is FS_IOC_SHUTDOWN without flushing the log. An operation that is answered
// meanwhile proves nothing: a directory of XFS, once shut down, is synced with success.
func (d *LoopDisk) Cut() error {
	dir, err := os.Open(d.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	const shutdown, noLogFlush = 0x8004587d, 2
	return unix.IoctlSetPointerInt(int(dir.Fd()), shutdown, noLogFlush)
}
