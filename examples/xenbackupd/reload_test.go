package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// change replaces text in the configuration.
func (w *world) change(old, text string) {
	w.t.Helper()
	conf, err := os.ReadFile(filepath.Join(w.dir, "c.yaml"))
	require.NoError(w.t, err)
	require.Contains(w.t, string(conf), old)
	w.write("c.yaml", strings.ReplaceAll(string(conf), old, text))
}

// reload sends the signal, and reads the log until it says what became of it.
func (p *process) reload(says string) {
	p.w.t.Helper()
	require.NoError(p.w.t, p.cmd.Process.Signal(syscall.SIGHUP))
	p.until(says)
}

func (p *process) status() (st status) {
	p.w.t.Helper()
	_, text := p.ask("GET", "/status")
	require.NoError(p.w.t, json.Unmarshal([]byte(text), &st), text)
	return st
}

func TestChangedConfigurationIsTakenIntoUseWhileJobsRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "1m")
	w.pool.Slow("GET /export_raw_vdi", xapitest.OnCall(1), time.Hour)
	p := w.start()
	code, text := p.ask("POST", "/run/nightly")
	require.Equal(t, http.StatusAccepted, code, text)
	run := p.reading(1)

	w.change("nightly", "weekly") // the job and its schedule are gone, others are there
	w.change("  lab:", "  attic:")
	p.reload("msg=reloaded")
	st := p.status()
	require.Len(t, st.Runs, 1, "it goes on")
	require.Equal(t, "attic", st.Pools[0].Name)
	var names []string
	for _, s := range st.Schedules {
		names = append(names, s.Name)
	}
	require.Equal(t, []string{"all", "", "weekly"}, names)
	require.Empty(t, st.Config.Error)
	code, text = p.ask("POST", "/run/nightly")
	require.Equal(t, http.StatusNotFound, code, text)

	code, text = p.ask("POST", "/cancel/"+run)
	require.Equal(t, http.StatusAccepted, code, text)
	p.until("msg=ended")
	p.run("weekly")
	require.Equal(t, 1, w.points())
	require.Zero(t, p.end(syscall.SIGTERM), p.all.String())
	require.Empty(t, w.pool.Leaks(), "the old pool was logged out of")
}

func TestWrongConfigurationIsRefusedAndTheOldGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "1m")
	p := w.start()
	w.change("grace:", "grave:")
	p.reload(`unknown key`)
	p.until(`msg="not reloaded"`)
	require.Contains(t, p.status().Config.Error, "what was loaded before goes on")
	w.change("grave:", "grace:")
	w.change("state: state", "state: other")
	p.reload("cannot change while the program runs")
	w.change("state: other", "state: state")
	w.change("metrics: 127.0.0.1:0", "metrics: 127.0.0.1:999999")
	p.reload(`msg="not reloaded"`)
	_, text := p.ask("GET", "/metrics")
	require.Contains(t, text, "xenbackup_config_reload_successful 0")
	code, text := p.ask("GET", "/healthz", func(r *http.Request) { r.URL.Host = p.public })
	require.Equal(t, http.StatusOK, code, text)
	p.run("nightly")

	w.change("metrics: 127.0.0.1:999999\n", "limits: {memory: 64MiB}\n")
	p.reload("msg=reloaded")
	st := p.status()
	require.Empty(t, st.Config.Error)
	require.Equal(t, int64(64<<20), st.Memory.Limit)
	_, err := http.Get("http://" + p.public + "/healthz") //nolint:noctx,bodyclose // nobody answers
	require.Error(t, err)
	p.run("nightly")
	require.Zero(t, p.end(syscall.SIGTERM), p.all.String())
}

func TestVMsThatNoScheduleBacksUpAreTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "1m")
	p := w.start()
	looked := func(open int) func() bool {
		return func() bool {
			st := p.status()
			return !st.Coverage.Looked.IsZero() && len(st.Coverage.Unprotected) == open
		}
	}
	require.Eventually(t, looked(0), time.Minute, 10*time.Millisecond)
	w.change("nightly: {job: nightly, cron:", "nightly: {job: nightly, enabled: false, cron:")
	p.reload("no scheduled job backs up a VM")
	require.Eventually(t, looked(1), time.Minute, 10*time.Millisecond)
	require.Equal(t, "web", p.status().Coverage.Unprotected[0].Name)
	_, text := p.ask("GET", "/metrics")
	require.Contains(t, text, "xenbackup_unprotected_vms 1\n")
	require.Zero(t, p.end(syscall.SIGTERM), p.all.String())
}
