package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const ganeshaStart = 30 * time.Second // longest time the server may take to come up

// process is the server's process.
type process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
}

// StartGanesha starts NFS-Ganesha, which needs root, on free loopback ports. It
// sees files and mounts of its own, and nothing else of the machine changes: not
// even when the test is killed, for the server dies with it. One runs at a time
// on the machine; others wait.
func StartGanesha(tb testing.TB) *Ganesha {
	tb.Helper()
	return startGanesha(tb, os.TempDir())
}

func startGanesha(tb testing.TB, base string) *Ganesha {
	tb.Helper()
	Require(tb, "ganesha.nfsd")
	Require(tb, "unshare")
	if os.Getuid() != 0 {
		Missing(tb, "NFS-Ganesha needs root")
	}
	lockMachine(tb, "xenbackup-ganesha.lock")
	g := &Ganesha{dir: ganeshaDir(tb, base)}
	answerPortmapper(tb, filepath.Join(g.dir, "run", "rpcbind.sock"))
	ports := freePorts(tb, 3)
	g.Port, g.MountPort = ports[0], ports[1]
	if err := os.WriteFile(g.file("ganesha.conf"), []byte(g.config(ports[2])), 0o600); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { g.Kill() })
	g.Start(tb)
	return g
}

func (g *Ganesha) file(name string) string { return filepath.Join(g.dir, name) }

// ganeshaDir makes the server's folders in base, in a place whose name is short
// enough for a socket in it, and drops those that killed tests have left there.
func ganeshaDir(tb testing.TB, base string) string {
	tb.Helper()
	old, _ := filepath.Glob(filepath.Join(base, "xenbackup-ganesha-*"))
	for _, dir := range old {
		_ = os.RemoveAll(dir)
	}
	dir, err := os.MkdirTemp(base, "xenbackup-ganesha-") //nolint:usetesting // the path of tb.TempDir is too long for a socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, sub := range []string{"data", "ro", "full", "run/ganesha", "recovery", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	err = errors.Join(
		os.Chmod(dir, 0o755),
		os.Chmod(filepath.Join(dir, "data"), 0o777),
		os.WriteFile(filepath.Join(dir, "ro", "hello.txt"), []byte("hello\n"), 0o644))
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// Start starts the server again, on the same ports and files, after Kill. It
// returns when the server answers.
func (g *Ganesha) Start(tb testing.TB) {
	tb.Helper()
	log := g.file("log/" + strconv.FormatInt(time.Now().UnixNano(), 10))
	// The folder run takes the place of /run, where the server looks for the
	// portmapper, and the small disk is mounted, for this process alone. What other
	// tests have mounted is not to stay mounted with it when they unmount it.
	script := fmt.Sprintf(`while read -r device at _; do case $device in /dev/loop*) case %[1]s/ in "$at"/*) ;; *) umount -l "$at" ;; esac ;; esac; done </proc/mounts
mount --bind %[1]s/run /run && mount -t tmpfs -o size=%[2]d,mode=1777 full %[1]s/full && exec ganesha.nfsd -F -f %[1]s/ganesha.conf -L %[3]s -p /run/ganesha.pid`,
		g.dir, GaneshaFullSize, log)
	g.process.cmd = exec.Command("unshare", "--mount", "sh", "-c", script) //nolint:noctx // outlives any one call; Kill ends it
	g.process.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var output bytes.Buffer
	g.process.cmd.Stdout, g.process.cmd.Stderr = &output, &output
	g.process.gone = make(chan struct{})
	started := make(chan error, 1)
	go func() {
		// Pdeathsig is about the thread that started the process, so it must stay.
		runtime.LockOSThread()
		err := g.process.cmd.Start()
		started <- err
		if err == nil {
			_ = g.process.cmd.Wait()
		}
		close(g.process.gone)
	}()
	if err := <-started; err != nil {
		tb.Fatalf("start NFS-Ganesha: %v", err)
	}
	if err := g.await(tb.Context(), log); err != nil {
		g.Kill()
		text, _ := os.ReadFile(log)
		tb.Fatalf("NFS-Ganesha did not come up: %v\n%s%s", err, output.Bytes(), text)
	}
}

// await waits until the server says that it is ready and its port answers.
func (g *Ganesha) await(ctx context.Context, log string) error {
	ctx, cancel := context.WithTimeout(ctx, ganeshaStart)
	defer cancel()
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-g.process.gone:
			return errors.New("it has ended")
		case <-ticks.C:
		}
		if text, err := os.ReadFile(log); err != nil || !bytes.Contains(text, []byte("NFS SERVER INITIALIZED")) {
			continue
		}
		nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(g.Port)))
		if err == nil {
			return nc.Close()
		}
	}
}

// Kill ends the server as a crash would, and returns when it is gone.
func (g *Ganesha) Kill() {
	if g.process.cmd == nil || g.process.cmd.Process == nil {
		return
	}
	_ = g.process.cmd.Process.Kill() // it may have ended
	<-g.process.gone
}

// Running reports whether the server has not ended.
func (g *Ganesha) Running() bool {
	select {
	case <-g.process.gone:
		return false
	default:
		return true
	}
}

// Freeze stops the server from doing anything; its connections stay.
func (g *Ganesha) Freeze(tb testing.TB) {
	tb.Helper()
	g.signal(tb, syscall.SIGSTOP)
}

// Resume ends Freeze.
func (g *Ganesha) Resume(tb testing.TB) {
	tb.Helper()
	g.signal(tb, syscall.SIGCONT)
}

func (g *Ganesha) signal(tb testing.TB, s syscall.Signal) {
	tb.Helper()
	if err := g.process.cmd.Process.Signal(s); err != nil {
		tb.Fatalf("signal NFS-Ganesha: %v", err)
	}
}

// lockMachine takes a lock that one process on this machine has at a time, until
// the test ends. It goes with the process.
func lockMachine(tb testing.TB, name string) {
	tb.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if err == nil {
			return
		}
		if !errors.Is(err, syscall.EINTR) {
			tb.Fatalf("lock %s: %v", f.Name(), err)
		}
	}
}

// freePorts finds loopback ports that nothing listens on.
func freePorts(tb testing.TB, n int) []int {
	tb.Helper()
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // does not block
		if err != nil {
			tb.Fatal(err)
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports
}
