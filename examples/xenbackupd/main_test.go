package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/schedule"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// build compiles the program, once; "" when that failed, which the tests' output tells.
var build = sync.OnceValue(func() string {
	path := filepath.Join(folder, "xenbackupd")
	cmd := exec.CommandContext(context.Background(), "go", "build", "-o", path, ".")
	cmd.Stderr = os.Stderr
	if cmd.Run() != nil {
		return ""
	}
	return path
})

// folder is where the program is built.
var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "xenbackupd-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// world is a pool with a VM, a repository, a configuration and the program.
type world struct {
	t       *testing.T
	pool    *xapitest.Pool
	dir     string
	program string
}

const configuration = `state: state
listen: 127.0.0.1:0
metrics: 127.0.0.1:0
grace: %s
pools:
  lab: {url: %q, username: %q, password: {file: password}}
remotes:
  disk: {url: %q}
jobs:
  nightly: {vms: [%s], remotes: [disk]}
  bare: {vms: [%s], remotes: [disk], settings: {exportRetention: 1}}
schedules:
  nightly: {job: nightly, cron: "0 3 1 1 *", retention: 2, catch_up: 10000h}
  all: {sequence: [nightly], enabled: false, cron: "@weekly"}
`

func newWorld(t *testing.T, grace string) *world {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no signals to send here")
	}
	w := &world{t: t, dir: t.TempDir(), program: build()}
	require.NotEmpty(t, w.program)
	w.pool = xapitest.NewPool(t, xapitest.Inventory{VMs: []xapitest.VM{{
		Name: "web", PowerState: "Running", Disks: []xapitest.Disk{{Size: 16 << 20, Bootable: true}},
	}}})
	w.pool.Expect("exported base snapshots")
	disk, err := os.OpenFile(w.pool.VM("web").Disks[0].Path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = disk.WriteAt(bytes.Repeat([]byte("guest"), 1<<20), 0)
	require.NoError(t, err)
	require.NoError(t, disk.Close())
	require.NoError(t, os.Mkdir(filepath.Join(w.dir, "backups"), 0o700))
	w.write("password", w.pool.Password()+"\n")
	vm := w.pool.VM("web").UUID
	w.write("c.yaml", fmt.Sprintf(configuration, grace, w.pool.URL(), w.pool.Username(), "file://"+filepath.Join(w.dir, "backups"), vm, vm))
	return w
}

func (w *world) write(name, text string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600))
}

// do runs the program to its end.
func (w *world) do(args ...string) (code int, out, errs string) {
	w.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(w.t.Context(), w.program, append([]string{"-config", filepath.Join(w.dir, "c.yaml")}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the exit code tells
	require.NotContains(w.t, stdout.String()+stderr.String(), w.pool.Password())
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// points counts the restore points of the VM.
func (w *world) points() int { return len(w.list()) }

// list is the restore points of the VM, oldest first.
func (w *world) list() (points []*catalog.Point) {
	w.t.Helper()
	fsys, err := local.Open(filepath.Join(w.dir, "backups"), nil)
	require.NoError(w.t, err)
	defer func() { require.NoError(w.t, fsys.Close()) }()
	c, err := catalog.Open(w.t.Context(), fsys, nil)
	require.NoError(w.t, err)
	for p, err := range c.Points(w.t.Context(), w.pool.VM("web").UUID) {
		require.NoError(w.t, err)
		points = append(points, p)
	}
	return points
}

// process is the program as a daemon.
type process struct {
	w       *world
	cmd     *exec.Cmd
	log     *bufio.Scanner
	all     strings.Builder
	private string // its address
	public  string
}

var address = regexp.MustCompile(`address=(\S+)`)

func (w *world) start() *process {
	w.t.Helper()
	p := &process{w: w, cmd: exec.CommandContext(w.t.Context(), w.program, "-config", filepath.Join(w.dir, "c.yaml"))}
	stderr, err := p.cmd.StderrPipe()
	require.NoError(w.t, err)
	p.log = bufio.NewScanner(stderr)
	require.NoError(w.t, p.cmd.Start())
	patience := time.AfterFunc(2*time.Minute, func() { _ = p.cmd.Process.Kill() }) // whoever waits for its log is told
	w.t.Cleanup(func() {
		patience.Stop()
		_ = p.cmd.Process.Kill() // unless it has ended
	})
	p.private = address.FindStringSubmatch(p.until("for=listen"))[1]
	p.public = address.FindStringSubmatch(p.until("for=metrics"))[1]
	p.until("msg=ready")
	return p
}

// until reads the log up to a line with the text.
func (p *process) until(text string) string {
	p.w.t.Helper()
	for p.log.Scan() {
		p.all.WriteString(p.log.Text() + "\n")
		if strings.Contains(p.log.Text(), text) {
			return p.log.Text()
		}
	}
	require.FailNow(p.w.t, "the log ended without "+text, p.all.String())
	return ""
}

// end reads the log to its end and returns the exit code.
func (p *process) end(signal syscall.Signal) int {
	p.w.t.Helper()
	require.NoError(p.w.t, p.cmd.Process.Signal(signal))
	for p.log.Scan() {
		p.all.WriteString(p.log.Text() + "\n")
	}
	_ = p.cmd.Wait() // the exit code tells
	require.NotContains(p.w.t, p.all.String(), p.w.pool.Password())
	return p.cmd.ProcessState.ExitCode()
}

// ask sends a request, to the private address unless told otherwise.
func (p *process) ask(method, path string, change ...func(*http.Request)) (code int, text string) {
	p.w.t.Helper()
	request, err := http.NewRequestWithContext(p.w.t.Context(), method, "http://"+p.private+path, nil)
	require.NoError(p.w.t, err)
	for _, c := range change {
		c(request)
	}
	answer, err := http.DefaultClient.Do(request)
	require.NoError(p.w.t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(p.w.t, err)
	require.NotContains(p.w.t, string(body), p.w.pool.Password())
	return answer.StatusCode, string(body)
}

func TestChecksAndRunsOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "1m")
	code, out, errs := w.do("-check")
	require.Equal(t, command.Done, code, errs)
	require.Contains(t, out, "nightly: next ")
	require.Contains(t, errs, "warning: pools.lab.url: http")
	require.Contains(t, errs, "warning: jobs.bare: no schedule")

	code, out, errs = w.do("-plan", "nightly")
	require.Equal(t, command.Done, code, errs)
	require.Contains(t, out, "web (lab): full: ")
	require.NoDirExists(t, filepath.Join(w.dir, "state"), "nothing is changed")
	entries, err := os.ReadDir(filepath.Join(w.dir, "backups"))
	require.NoError(t, err)
	require.Empty(t, entries)

	for run := range 3 {
		code, out, errs = w.do("-run", "nightly")
		require.Equal(t, command.Done, code, errs)
		require.Contains(t, out, "web: ", "%d", run)
		require.Regexp(t, "nightly: success in .*, 1 of 1 VMs backed up", out)
	}
	require.Equal(t, 2, w.points(), "retention is that of the job's only schedule")

	code, out, errs = w.do("-plan", "nightly")
	require.Equal(t, command.Done, code, errs)
	require.Contains(t, out, "web (lab): delta")
	require.Regexp(t, `to disk, .* free, the last point took .*, then .* expires`, out)

	require.NoError(t, os.Rename(filepath.Join(w.dir, "backups"), filepath.Join(w.dir, "mounted")))
	require.NoError(t, os.Mkdir(filepath.Join(w.dir, "backups"), 0o700))
	code, _, errs = w.do("-run", "nightly")
	require.Equal(t, command.Failed, code, "the disk that was mounted there is not")
	require.Contains(t, errs, "remotes.json")
	require.NoError(t, os.Remove(filepath.Join(w.dir, "backups")))
	require.NoError(t, os.Rename(filepath.Join(w.dir, "mounted"), filepath.Join(w.dir, "backups")))
	w.pool.Fail("VM.snapshot", xapitest.OnCall(1), xapi.ErrSRFull)
	code, out, errs = w.do("-run", "nightly")
	require.Equal(t, command.Failed, code)
	require.Contains(t, out, "web: snapshot: failure")
	require.Contains(t, errs, "SR_FULL")
}

func TestDaemonRunsWhatIsDueAndWhatIsAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "1m")
	p := w.start()
	code, text := p.ask("GET", "/healthz")
	require.Equal(t, http.StatusOK, code, text)
	code, _, errs := w.do("-run", "nightly")
	require.Equal(t, command.Failed, code)
	require.Contains(t, errs, "another process has the state directory")

	code, text = p.ask("POST", "/run/nightly")
	require.Equal(t, http.StatusAccepted, code, text)
	p.until(`msg="run ended"`)
	code, text = p.ask("POST", "/run/bare")
	require.Equal(t, http.StatusAccepted, code, text)
	p.until(`msg="run ended"`)
	require.Equal(t, 2, w.points())
	requireRefusals(t, p)

	_, text = p.ask("GET", "/status")
	var st status
	require.NoError(t, json.Unmarshal([]byte(text), &st), text)
	require.Len(t, st.Schedules, 3)
	require.True(t, st.Pools[0].Connected)
	_, text = p.ask("GET", "/metrics", func(r *http.Request) { r.URL.Host = p.public })
	for _, line := range []string{
		`xenbackup_runs_total{job="nightly",status="success"} 1`, `xenbackup_vms_total{job="bare",status="success"} 1`,
		`xenbackup_pool_connected{pool="lab"} 1`, `xenbackup_slots_in_use{pool="lab",operation="snapshot"} 0`,
		`xenbackup_schedule_next_time_seconds{schedule="nightly"} `, `xenbackup_pool_bytes_total{pool="lab",direction="down"} `,
	} {
		require.Contains(t, text, line)
	}

	// Killed, and started again after something was due.
	require.Equal(t, -1, p.end(syscall.SIGKILL))
	store := schedule.NewFileStore(filepath.Join(w.dir, "state", "schedules.json"))
	records, err := store.Load(t.Context())
	require.NoError(t, err)
	missed := records["nightly"]
	missed.Handled = missed.Handled.AddDate(-1, 0, 0)
	records["nightly"] = missed
	require.NoError(t, store.Save(t.Context(), records))
	p = w.start()
	_, text = p.ask("GET", "/metrics")
	require.Contains(t, text, `xenbackup_run_end_time_seconds{job="bare",status="success"} `, "it was before")
	_, text = p.ask("GET", "/runs?job=bare")
	var runs []task.Record
	require.NoError(t, json.Unmarshal([]byte(text), &runs), text)
	require.Len(t, runs, 1)
	_, text = p.ask("GET", "/runs/"+runs[0].ID)
	require.Contains(t, text, `"message": "snapshot"`)
	p.until("cause=missed")
	require.Contains(t, p.until(`msg="run ended"`), "status=success")
	require.Equal(t, 3, w.points())
	require.Zero(t, p.end(syscall.SIGTERM), p.all.String())
	require.Contains(t, p.all.String(), "msg=stopped")
}

// requireRefusals tries what others may not do.
func requireRefusals(t *testing.T, p *process) {
	t.Helper()
	for _, row := range []struct {
		name, method, path string
		change             func(*http.Request)
		code               int
	}{
		{"unknown job", "POST", "/run/other", nil, http.StatusNotFound},
		{"schedule of another job", "POST", "/run/bare?schedule=nightly", nil, http.StatusBadRequest},
		{"no such run", "GET", "/runs/..%2f..%2fpassword", nil, http.StatusNotFound},
		{"command by GET", "GET", "/run/nightly", nil, http.StatusMethodNotAllowed},
		{"a web page", "POST", "/run/nightly", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, http.StatusForbidden},
		{"a name that leads here", "GET", "/status", func(r *http.Request) { r.Host = "evil.example" }, http.StatusForbidden},
		{"status for others", "GET", "/status", func(r *http.Request) { r.URL.Host = p.public }, http.StatusNotFound},
		{"commands of others", "POST", "/run/nightly", func(r *http.Request) { r.URL.Host = p.public }, http.StatusNotFound},
	} {
		change := row.change
		if change == nil {
			change = func(*http.Request) {}
		}
		code, text := p.ask(row.method, row.path, change)
		require.Equal(t, row.code, code, "%s: %s", row.name, text)
	}
}

// reading waits until the nth export of a disk is asked for, and returns the id of the run.
func (p *process) reading(n int) string {
	p.w.t.Helper()
	for exports := 0; exports < n; runtime.Gosched() {
		require.NoError(p.w.t, p.w.t.Context().Err())
		exports = 0
		for _, call := range p.w.pool.Calls() {
			if call.Method == "GET /export_raw_vdi" {
				exports++
			}
		}
	}
	var st status
	_, text := p.ask("GET", "/status")
	require.NoError(p.w.t, json.Unmarshal([]byte(text), &st), text)
	require.Len(p.w.t, st.Runs, 1)
	require.Contains(p.w.t, st.Slots, slotStatus{Pool: "lab", Operation: pipeline.OpDiskExport, Limit: 12, InUse: 1})
	return st.Runs[0].ID
}

func TestSignalCancelsAfterTheGraceAndLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "100ms")
	w.pool.Slow("GET /export_raw_vdi", xapitest.OnCall(1), time.Hour)
	p := w.start()
	code, text := p.ask("POST", "/run/nightly")
	require.Equal(t, http.StatusAccepted, code, text)
	id := p.reading(1)
	code, text = p.ask("POST", "/run/nightly")
	require.Equal(t, http.StatusConflict, code, text)
	code, text = p.ask("POST", "/cancel/"+id+"?vm=other")
	require.Equal(t, http.StatusNotFound, code, text)
	code, text = p.ask("POST", "/cancel/"+id)
	require.Equal(t, http.StatusAccepted, code, text)
	require.Contains(t, p.until(`msg="run ended"`), "status=interrupted")
	require.Empty(t, w.pool.Leaks())

	w.pool.Slow("GET /export_raw_vdi", xapitest.OnCall(1), time.Hour)
	p.until("msg=ended") // the job is free
	code, text = p.ask("POST", "/run/nightly")
	require.Equal(t, http.StatusAccepted, code, text)
	p.reading(2)
	require.Zero(t, p.end(syscall.SIGTERM), p.all.String())
	require.Contains(t, p.all.String(), "the grace is over")
	require.Contains(t, p.all.String(), "status=interrupted")
	require.Zero(t, w.points())
	require.Empty(t, w.pool.Leaks())
}

func TestExitCodeTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wrong := filepath.Join(dir, "wrong.yaml")
	require.NoError(t, os.WriteFile(wrong, []byte("state: here\npolls: {}\n"), 0o600))
	for _, row := range []struct {
		args string
		code int
		says string
	}{
		{"-h", 0, "Exit codes"},
		{"", 2, "-config is needed"},
		{"-config x web", 2, `what is "web"?`},
		{"-config x -unknown", 2, "-unknown"},
		{"-config x -check -run y", 2, "one of -check"},
		{"-config " + filepath.Join(dir, "missing.yaml"), 2, "missing.yaml"},
		{"-config " + wrong + " -check", 2, "wrong.yaml:2: "},
	} {
		var out, errs bytes.Buffer
		require.Equal(t, row.code, start(strings.Fields(row.args), &command.Streams{Out: &out, Err: &errs}), row.args)
		require.Contains(t, cmp.Or(errs.String(), out.String()), row.says)
	}
}

func TestSampleConfigurationCanBeUsed(t *testing.T) {
	secrets := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", secrets)
	for _, name := range []string{"main.password", "safe.password"} {
		require.NoError(t, os.WriteFile(filepath.Join(secrets, name), []byte("x"), 0o600))
	}
	var out, errs bytes.Buffer
	require.Zero(t, start([]string{"-config", "xenbackupd.yaml", "-check"}, &command.Streams{Out: &out, Err: &errs}), errs.String())
	require.Empty(t, errs.String())
	require.Contains(t, out.String(), "nightly: next")
}
