package testenv

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Samba is an SMB server of this machine's samba package on a loopback port. It
// runs as an ordinary user: the one that runs the tests, or for root the user
// daemon. It has the shares
//
//	data     to read and write
//	enc      the same folder, encryption required
//	ro       read-only; holds hello.txt
//	denied   for nobody
//	full     to read and write, encryption required; see FillableShare
//	data$    as data, under a hidden name
//
// Its files are in a temporary directory. It ends with the test; when the test
// process is killed, it does too, and the next start removes what it left.
type Samba struct {
	Port     int
	User     string
	Password string

	tb    testing.TB
	dir   string
	login *syscall.Credential // nil: this user
	cmd   *exec.Cmd
}

// sambaPrefix begins the names of temporary directories; the process id follows.
const sambaPrefix = "xenbackup-smbd-"

// StartSamba starts a server, and waits until it listens. More lines of the
// global section of its configuration may be given.
func StartSamba(tb testing.TB, global ...string) *Samba {
	tb.Helper()
	sbin(tb, "smbd")
	sweepSamba()
	//nolint:usetesting // a name by which the next start finds what a killed test has left
	dir, err := os.MkdirTemp("", sambaPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		tb.Fatal(err)
	}
	s := &Samba{tb: tb, dir: dir, Port: freePort(tb)}
	tb.Cleanup(func() {
		s.Kill()
		removeSamba(dir)
	})
	s.chooseUser()
	s.configure(global)
	s.SetPassword("Pw1!")
	s.Start()
	return s
}

// Address is host and port.
func (s *Samba) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// URL is that of a path that begins with a share, without the password.
func (s *Samba) URL(path string) string { return "smb://" + s.User + "@" + s.Address() + "/" + path }

// Dir is the folder of a share on this machine.
func (s *Samba) Dir(share string) string {
	switch share {
	case "enc", "data$", "denied":
		share = "data"
	}
	return filepath.Join(s.dir, share)
}

// FillableShare makes the share full a file system of size bytes. It needs root.
func (s *Samba) FillableShare(size int) {
	s.tb.Helper()
	if os.Getuid() != 0 {
		Missing(s.tb, "mounting a small disk needs root")
	}
	options := fmt.Sprintf("size=%d,mode=0755,uid=%d", size, s.uid())
	if err := syscall.Mount("tmpfs", s.Dir("full"), "tmpfs", 0, options); err != nil {
		Missing(s.tb, "cannot mount a tmpfs here: %v", err)
	}
}

// Start starts the server again after Kill.
func (s *Samba) Start() {
	s.tb.Helper()
	s.cmd = s.command("smbd", "-F", "--no-process-group", "-s", s.conf(), "-l", filepath.Join(s.dir, "log"))
	// A group of its own, with all the children: what is signalled is ours alone.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: s.login}
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Address())
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.dir, "log", "smbd.log"))
			s.tb.Fatalf("smbd does not listen on %s: %v\n%s", s.Address(), err, log)
		}
	}
}

// Kill ends the server and all its children at once, as a crash would.
func (s *Samba) Kill() {
	if s.cmd == nil {
		return
	}
	s.signal(syscall.SIGKILL)
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Freeze stops the server and all its children until Resume.
func (s *Samba) Freeze() { s.signal(syscall.SIGSTOP) }

// Resume lets the server go on after Freeze.
func (s *Samba) Resume() { s.signal(syscall.SIGCONT) }

func (s *Samba) signal(sig syscall.Signal) { _ = syscall.Kill(-s.cmd.Process.Pid, sig) }

// SetPassword changes the password for later logins.
func (s *Samba) SetPassword(password string) {
	s.tb.Helper()
	s.Password = password
	_ = s.run("", "pdbedit", "-s", s.conf(), "-x", "-u", s.User) // none the first time
	if err := s.run(password+"\n"+password+"\n", "pdbedit", "-s", s.conf(), "-a", "-t", "-u", s.User); err != nil {
		s.tb.Fatal(err)
	}
}

// Client runs smbclient's commands, such as "put file", on a share, with more of
// its arguments.
func (s *Samba) Client(share, commands string, more ...string) (string, error) {
	s.tb.Helper()
	args := append([]string{"//127.0.0.1/" + share, "-p", strconv.Itoa(s.Port), "-U", s.User, "-s", s.conf(), "-c", commands}, more...)
	cmd := exec.CommandContext(s.tb.Context(), Require(s.tb, "smbclient"), args...)
	cmd.Env = append(os.Environ(), "PASSWD="+s.Password)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *Samba) conf() string { return filepath.Join(s.dir, "smb.conf") }

func (s *Samba) uid() int {
	if s.login != nil {
		return int(s.login.Uid)
	}
	return os.Getuid()
}

func (s *Samba) chooseUser() {
	s.tb.Helper()
	me, err := user.Current()
	if err == nil && me.Uid == "0" {
		me, err = user.Lookup("daemon")
	}
	if err != nil {
		Missing(s.tb, "no user to run smbd as: %v", err)
	}
	s.User = me.Username
	if os.Getuid() == 0 {
		uid, _ := strconv.ParseUint(me.Uid, 10, 32)
		gid, _ := strconv.ParseUint(me.Gid, 10, 32)
		s.login = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
}

func (s *Samba) configure(global []string) {
	s.tb.Helper()
	conf := sambaConf
	for _, share := range []string{"data", "data$", "enc", "ro", "denied", "full"} {
		conf += fmt.Sprintf("[%s]\n  path = %s\n  read only = %v\n", share, s.Dir(share), share == "ro")
		switch share {
		case "enc", "full":
			conf += "  smb encrypt = required\n"
		case "denied":
			conf += "  invalid users = " + s.User + "\n"
		}
	}
	conf = strings.NewReplacer("DIR", s.dir, "PORT", strconv.Itoa(s.Port), "MORE", strings.Join(global, "\n  ")).Replace(conf)
	for _, dir := range []string{"private", "lock", "state", "cache", "pid", "ncalrpc", "log", "data", "ro", "full"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o755); err != nil {
			s.tb.Fatal(err)
		}
	}
	for name, content := range map[string]string{s.conf(): conf, filepath.Join(s.Dir("ro"), "hello.txt"): "hello"} {
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			s.tb.Fatal(err)
		}
	}
	err := filepath.Walk(s.dir, func(name string, _ os.FileInfo, err error) error {
		if err == nil && s.login != nil {
			err = os.Lchown(name, s.uid(), int(s.login.Gid))
		}
		return err
	})
	if err != nil {
		s.tb.Fatal(err)
	}
}

const sambaConf = `[global]
  server role = standalone server
  workgroup = TEST
  netbios name = SMBTEST
  bind interfaces only = yes
  interfaces = lo
  smb ports = PORT
  disable netbios = yes
  map to guest = never
  private dir = DIR/private
  lock directory = DIR/lock
  state directory = DIR/state
  cache directory = DIR/cache
  pid directory = DIR/pid
  ncalrpc dir = DIR/ncalrpc
  log file = DIR/log/smbd.log
  passdb backend = tdbsam:DIR/private/passdb.tdb
  load printers = no
  printcap name = /dev/null
  disable spoolss = yes
  server min protocol = SMB2_02
  server multi channel support = no
  MORE
`

// run runs a program of the samba package as the user of the server.
func (s *Samba) run(input, name string, args ...string) error {
	s.tb.Helper()
	cmd := s.command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.login}
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

func (s *Samba) command(name string, args ...string) *exec.Cmd {
	s.tb.Helper()
	cmd := exec.CommandContext(context.Background(), sbin(s.tb, name), args...)
	cmd.Dir = s.dir
	return cmd
}

// sbin finds a server's program, which is not on every user's path.
func sbin(tb testing.TB, name string) string {
	tb.Helper()
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		return path
	}
	return Require(tb, name)
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// sweepSamba removes what killed test processes have left.
func sweepSamba() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), sambaPrefix+"*"))
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), sambaPrefix), "-")
		if n, err := strconv.Atoi(pid); err == nil && syscall.Kill(n, 0) == syscall.ESRCH {
			removeSamba(dir)
		}
	}
}

func removeSamba(dir string) {
	_ = syscall.Unmount(filepath.Join(dir, "full"), syscall.MNT_DETACH) // if it was mounted
	_ = os.RemoveAll(dir)
}
