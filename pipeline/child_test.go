package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// childEnv makes this binary a process that runs jobs, and nothing else: what they use
// is measured there, while the pool is with the test.
const childEnv = "XENBACKUP_TEST_CHILD"

func TestMain(m *testing.M) {
	text := os.Getenv(childEnv)
	if text == "" {
		m.Run()
		return
	}
	var c child
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = c.run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child is what a process of its own does.
type child struct {
	URL, Username, Password string
	VMs                     []string
	Dir                     string // of the repository
	Rounds                  int    // of jobs of each VM; 0: one job of all VMs
}

// childOf is one whose jobs are about all VMs of a pool.
func childOf(t *testing.T, pool *xapitest.Pool) *child {
	t.Helper()
	c := &child{URL: pool.URL(), Username: pool.Username(), Password: pool.Password(), Dir: t.TempDir()}
	for _, vm := range pool.VMs() {
		c.VMs = append(c.VMs, vm.UUID)
	}
	return c
}

// do runs the child and decodes what it prints.
func (c *child) do(t *testing.T, result any) {
	t.Helper()
	text, err := json.Marshal(c)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.Bytes())
	require.NoError(t, json.Unmarshal(stdout, result), "%s%s", stdout, stderr.Bytes())
}

// run is what the process does.
func (c *child) run(ctx context.Context) error {
	var result any
	var err error
	if c.Rounds > 0 {
		result, err = c.repeat(ctx)
	} else {
		result, err = c.once(ctx)
	}
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(result))
}

// session is what one run of a job needs, from the login on.
type session struct {
	client *xapi.Client
	fsys   remote.Filesystem
	opts   pipeline.RunnerOptions
}

// open logs in and opens the repository, through what wrap makes of its folder.
func (c *child) open(ctx context.Context, wrap func(remote.Filesystem) remote.Filesystem) (*session, error) {
	client, err := xapi.Dial(ctx, c.URL, &xapi.Options{Username: c.Username, Password: xapi.Secret(c.Password)})
	if err != nil {
		return nil, err
	}
	fsys, err := local.Open(c.Dir, nil)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	s := &session{client: client, fsys: fsys}
	repository, err := catalog.Open(ctx, wrap(fsys), nil)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.opts = pipeline.RunnerOptions{
		Pools:   map[string]pipeline.Pool{"lab": client},
		Remotes: func(context.Context, string) (*catalog.Catalog, error) { return repository, nil },
	}
	return s, nil
}

func (s *session) close() error { return errors.Join(s.fsys.Close(), s.client.Close()) }

// job is one of some VMs that keeps one point of each.
func (c *child) job(mode string, vms ...string) *pipeline.Job {
	return &pipeline.Job{
		ID: "22222222-0000-4000-8000-000000000002", Name: "nightly", Type: pipeline.TypeBackup, Mode: mode,
		VMs: pipeline.IDs(vms...), Remotes: pipeline.IDs("r"),
		Settings: map[string]json.RawMessage{"": json.RawMessage(`{"exportRetention":1,"concurrency":0}`)},
	}
}

// procStatus returns a number of bytes that Linux says about this process, 0 elsewhere.
func procStatus(key string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}
