package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
)

// Points and disks of the golden repositories.
const (
	filesVM       = "000000a0-0000-4000-8000-000000000002"
	lastPoint     = "xo-vm-backups/" + filesVM + "/20260110T050000Z.json"
	midPoint      = "xo-vm-backups/" + filesVM + "/20260110T040000Z.json"
	fullPoint     = "xo-vm-backups/000000a0-0000-4000-8000-000000000001/20260110T030000Z.json"
	system        = "00000040-0000-4000-8000-000000000002" // the VM's own VDI
	interruptedVM = "000000a0-0000-4000-8000-000000000009"
	snapshot      = "00000030-0000-4000-8000-0000000007d2" // that of lastPoint
)

// secret is what must not be in any output.
const secret = "simulated-secret"

// programDir is where the program is compiled to; TestMain makes it.
var programDir string

// building is the program, compiled once for all tests.
var building = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programDir, "xenrestore")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return path, err
})

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "xenrestore-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// user runs the program with an environment of their own.
type user struct {
	env map[string]string
}

// at is a user of one repository, and of its key.
func at(dir string, key ...string) *user {
	u := &user{env: map[string]string{"XENBACKUP_REMOTE": fileURL(dir)}}
	if len(key) > 0 {
		u.env["XENBACKUP_REMOTE_KEY"] = key[0]
	}
	return u
}

func fileURL(dir string) string {
	return "file://" + (&url.URL{Path: "/" + strings.TrimPrefix(filepath.ToSlash(dir), "/")}).EscapedPath()
}

// command prepares a run of the program.
func (u *user) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := building()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), path, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "XENBACKUP_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	for name, value := range u.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// run runs it, and sees to it that no secret is printed.
func (u *user) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := u.command(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		_, ok := errors.AsType[*exec.ExitError](err)
		require.True(t, ok, "%v", err)
	}
	for _, s := range []string{testenv.GoldenKey, secret, "hunter2"} {
		require.NotContains(t, out.String()+errs.String(), s)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// ok runs it and wants success without a word to standard error.
func (u *user) ok(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := u.run(t, args...)
	require.Zero(t, code, "%v: %s", args, stderr)
	require.Empty(t, stderr, "quiet where nobody looks")
	return stdout
}

// json decodes what ok prints into v.
func (u *user) json(t *testing.T, v any, args ...string) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(u.ok(t, append(args, "-json")...)), v))
}

// fails wants this exit code, and in the message all of these.
func (u *user) fails(t *testing.T, code int, says []string, args ...string) {
	t.Helper()
	got, _, stderr := u.run(t, args...)
	require.Equal(t, code, got, "%v: %s", args, stderr)
	for _, s := range says {
		require.Contains(t, stderr, s, "%v", args)
	}
}

// tree is the content of all files below dir, but for .xenbackup.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() == ".xenbackup" {
			return errors.Join(err, fs.SkipDir)
		}
		if e.IsDir() {
			return nil
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(content)
		return err
	}))
	return files
}

// requireNoLeases looks that nothing holds the repository.
func requireNoLeases(t *testing.T, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, ".xenbackup", "leases", "*", "*"))
	require.NoError(t, err)
	require.Empty(t, left)
	left, err = filepath.Glob(filepath.Join(dir, "xo-vm-backups", "*.lock"))
	require.NoError(t, err)
	require.Empty(t, left)
}
