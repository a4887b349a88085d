package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/xenbackup/xenbackup/examples/internal/sample"
	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/all"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// files is what Linux shows of a tree: mode, owner, time, content or target, attributes.
type files map[string]string

func lookAt(t *testing.T, dir string) files {
	t.Helper()
	m := files{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		var s unix.Stat_t
		if err := unix.Lstat(path, &s); err != nil {
			return err
		}
		var text strings.Builder
		fmt.Fprintf(&text, "%o %d:%d", s.Mode, s.Uid, s.Gid)
		switch s.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&text, " %d.%09d %d %s", s.Mtim.Sec, s.Mtim.Nsec, s.Size, sum(content))
		case unix.S_IFDIR:
			fmt.Fprintf(&text, " %d.%09d", s.Mtim.Sec, s.Mtim.Nsec)
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text.WriteString(" -> " + target)
		}
		for _, name := range []string{"user.run", "system.posix_acl_access"} {
			value := make([]byte, 1000)
			if n, err := unix.Lgetxattr(path, name, value); err == nil {
				fmt.Fprintf(&text, " %s=%q", name, value[:n])
			}
		}
		name, err := filepath.Rel(dir, path)
		m[name] = text.String()
		return err
	}))
	return m
}

// only is what selections have of a tree.
func (m files) only(selected ...string) files {
	part := maps.Clone(m)
	maps.DeleteFunc(part, func(name, _ string) bool {
		return !slices.ContainsFunc(selected, func(s string) bool { return name == s || strings.HasPrefix(name, s+"/") })
	})
	return part
}

// guest is a VM with a GPT, LVM and ext4 on its first disk, and FAT on its second.
type guest struct {
	t            *testing.T
	pool         *xapitest.Pool
	vm           string
	system, data string // the disks, on this machine
	history      []files
}

// Where the extents of lvm:vg0/home lie on the first disk: behind each other.
const homeAt, homeSize = 16 << 20, 2 << 20

func newGuest(t *testing.T) *guest {
	t.Helper()
	if os.Getuid() != 0 {
		testenv.Missing(t, "mounting what a guest has written needs root")
	}
	var disks []xapitest.Disk
	for _, name := range []string{"a", "fat"} {
		raw, err := sample.Image("../../filerestore/testdata/" + name + ".img.zst")
		require.NoError(t, err)
		if name == "a" { // what else is on it makes the test slow
			clear(raw[1<<20 : 9<<20])
			clear(raw[10<<20 : homeAt])
			clear(raw[homeAt+homeSize : len(raw)-1<<20])
		}
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, raw, 0o600))
		disks = append(disks, xapitest.Disk{Name: name, Content: path, Bootable: name == "a"})
	}
	pool := xapitest.NewPool(t, xapitest.Inventory{VMs: []xapitest.VM{{Name: "web", PowerState: "Running", Disks: disks}}})
	pool.Expect("exported base snapshots")
	vm := pool.VM("web")
	return &guest{t: t, pool: pool, vm: vm.UUID, system: vm.Disks[0].Path, data: vm.Disks[1].Path}
}

func (g *guest) command(name string, args ...string) {
	g.t.Helper()
	out, err := exec.CommandContext(g.t.Context(), testenv.Require(g.t, name), args...).CombinedOutput()
	require.NoError(g.t, err, "%s %v: %s", name, args, out)
}

// work is what the guest does before run n.
func (g *guest) work(n int) {
	g.t.Helper()
	dir := g.t.TempDir()
	g.command("mount", "-o", fmt.Sprintf("loop,offset=%d,sizelimit=%d", homeAt, homeSize), g.system, dir)
	err := change(dir, n)
	if err == nil {
		g.history = append(g.history, lookAt(g.t, dir))
	}
	require.NoError(g.t, errors.Join(err, exec.Command("umount", dir).Run())) //nolint:noctx // also when the test's context has ended
	state := filepath.Join(dir, "state.txt")
	require.NoError(g.t, os.WriteFile(state, []byte(onFAT(n)), 0o600))
	g.command("mcopy", "-o", "-i", g.data, state, "::/state.txt")
}

func onFAT(n int) string { return strings.Repeat(fmt.Sprintf("run %d\n", n), 1000*n) }

// change makes files of all kinds, of which some differ from run to run, some come, and
// some go.
func change(dir string, n int) error {
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string, mode fs.FileMode) error {
		return errors.Join(os.WriteFile(at(name), []byte(text), mode), os.Chmod(at(name), mode),
			os.Chtimes(at(name), time.Time{}, time.Unix(1_700_000_000+int64(n), int64(n))))
	}
	_ = os.RemoveAll(at(fmt.Sprintf("etc/only%d.conf", n-1)))
	_ = os.Remove(at("srv/current"))
	return errors.Join(
		os.MkdirAll(at("srv/deep/er"), 0o750),
		write("etc/hostname", fmt.Sprintf("host %d\n", n), 0o644),
		write("etc/always.conf", fmt.Sprintf("always %d\n", n), 0o600),
		write(fmt.Sprintf("etc/only%d.conf", n), "once\n", 0o640),
		write("srv/deep/er/log", strings.Repeat(fmt.Sprintf("line of run %d\n", n), 3000), 0o644),
		write(fmt.Sprintf("srv/deep/run%d", n), "", 0o4711),
		os.Lchown(at("srv/deep"), 1000+n, 70000),
		unix.Setxattr(at("etc/hostname"), "user.run", fmt.Append(nil, n), 0),
		os.Symlink(fmt.Sprintf("deep/run%d", n), at("srv/current")),
		os.Chtimes(at("srv/deep"), time.Time{}, time.Unix(1_600_000_000, int64(n))),
	)
}

// target is a repository as a user names it.
type target struct {
	*user
	name    string
	url     string
	opts    remote.Options
	catalog *catalog.Catalog
}

func newTarget(t *testing.T, name, url string, opts remote.Options, in catalog.Options) *target {
	t.Helper()
	fsys, err := all.Opener().Open(t.Context(), url, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fsys.Close()) })
	if in.Key != "" {
		_, err := crypt.Init(t.Context(), fsys, in.Key, nil)
		require.NoError(t, err)
	}
	c, err := catalog.Open(t.Context(), fsys, &in)
	require.NoError(t, err)
	u := &user{env: map[string]string{"XENBACKUP_REMOTE": url}}
	for key, value := range map[string]remote.Secret{"XENBACKUP_REMOTE_KEY": in.Key, "XENBACKUP_REMOTE_PASSWORD": opts.Password} {
		if value != "" {
			u.env[key] = string(value)
		}
	}
	return &target{user: u, name: name, url: url, opts: opts, catalog: c}
}

// backUp runs the job that has these targets.
func (g *guest) backUp(mode string, compression *string, targets ...*target) {
	g.t.Helper()
	catalogs, ids := map[string]*catalog.Catalog{}, []string{}
	for _, to := range targets {
		catalogs[to.name], ids = to.catalog, append(ids, to.name)
	}
	runner, err := pipeline.NewRunner(&pipeline.RunnerOptions{
		Pools:   map[string]pipeline.Pool{"lab": g.pool.Client(g.t)},
		Remotes: func(_ context.Context, id string) (*catalog.Catalog, error) { return catalogs[id], nil },
	})
	require.NoError(g.t, err)
	_, err = runner.Run(g.t.Context(), &pipeline.Job{
		ID: "job of " + ids[0], Name: mode, Type: pipeline.TypeBackup, Mode: mode, Compression: compression,
		VMs: pipeline.IDs(g.vm), Remotes: pipeline.IDs(ids...), Settings: map[string]json.RawMessage{"": json.RawMessage(`{"exportRetention": 9}`)},
	}, &pipeline.RunOptions{ScheduleID: "5f1f1c2e-0000-4000-8000-000000000002"})
	require.NoError(g.t, err)
}

// points are the IDs of the restore points, oldest first.
func (to *target) points(t *testing.T, vm string) (list []*catalog.Point) {
	t.Helper()
	for p, err := range to.catalog.Points(t.Context(), vm) {
		require.NoError(t, err)
		list = append(list, p)
	}
	return list
}

// requireFiles restores one file, one directory and what a pattern is of, by the library
// and by the program, and compares them with what the guest had at that run.
func (g *guest) requireFiles(to *target, p *catalog.Point, run int) {
	t := g.t
	t.Helper()
	s, err := filerestore.OpenBackup(t.Context(), to.catalog, p, nil)
	require.NoError(t, err)
	home, err := s.OpenVolume(t.Context(), "lvm:vg0/home")
	require.NoError(t, err)
	matches, err := fs.Glob(home, "etc/*.conf")
	require.NoError(t, err)
	require.Equal(t, []string{"etc/always.conf", fmt.Sprintf("etc/only%d.conf", run)}, matches)
	chosen := append([]string{"etc/hostname", "srv"}, matches...)
	want := g.history[run-1].only(chosen...)
	require.Greater(t, len(want), 8)

	var list []filerestore.Selection
	for _, name := range chosen {
		list = append(list, filerestore.Selection{Volume: "home", Path: name})
	}
	dir := t.TempDir()
	into, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer into.Close()
	report, err := s.Extract(t.Context(), into, list, &filerestore.ExtractOptions{Owners: true})
	require.NoError(t, err)
	require.True(t, report.Complete(), report)
	require.Empty(t, cmp.Diff(want, lookAt(t, dir).only(chosen...)), to.name)
	data, err := s.OpenVolume(t.Context(), "FATLABEL")
	require.NoError(t, err)
	content, err := fs.ReadFile(data, "state.txt")
	require.NoError(t, err)
	require.Equal(t, onFAT(run), string(content))
	require.NoError(t, s.Confirm(t.Context()))
	require.NoError(t, s.Close())

	out := t.TempDir()
	paths := []string{"/etc/hostname", "/srv/", "/etc/*.conf"}
	get := func(more ...string) []string { return append([]string{"files", "get", "-backup", p.ID}, more...) }
	to.ok(t, get(append([]string{"-volume", "home", "-owners", "-o", out}, paths...)...)...)
	require.Empty(t, cmp.Diff(want, lookAt(t, out).only(chosen...)), to.name)
	archive, unpacked := filepath.Join(t.TempDir(), "a.tar.zst"), t.TempDir()
	to.ok(t, get(append([]string{"-disk", "xvda", "-volume", "home", "-o", archive}, paths...)...)...)
	g.command("tar", "--acls", "--xattrs", "--numeric-owner", "-xpf", archive, "-C", unpacked)
	require.Empty(t, cmp.Diff(want, lookAt(t, unpacked).only(chosen...)), to.name)
	fat := filepath.Join(out, "fat")
	to.ok(t, get("-disk", "xvdb", "-o", fat+"/", "state.*")...)
	content, err = os.ReadFile(filepath.Join(fat, "state.txt"))
	require.NoError(t, err)
	require.Equal(t, onFAT(run), string(content))
}

// copyTree makes a copy of a repository for the users of a server.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	require.NoError(t, filepath.WalkDir(to, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.Chmod(path, 0o777)
		}
		return os.Chmod(path, 0o666)
	}))
}

// A guest changes its files between five runs of a job. Each repository, local, encrypted,
// of brotli, or on a server, has what was there at the third.
func TestFilesOfTheThirdOfFiveBackups(t *testing.T) {
	g := newGuest(t)
	dir := t.TempDir()
	targets := []*target{
		newTarget(t, "local", fileURL(dir), remote.Options{}, catalog.Options{}),
		newTarget(t, "encrypted", fileURL(t.TempDir()), remote.Options{}, catalog.Options{Key: testenv.GoldenKey}),
		newTarget(t, "brotli", fileURL(t.TempDir()), remote.Options{}, catalog.Options{Format: catalog.FormatBrotli}),
	}
	for run := 1; run <= 5; run++ {
		g.work(run)
		g.backUp(pipeline.ModeDelta, nil, targets...)
	}
	ganesha, samba := testenv.StartGanesha(t), testenv.StartSamba(t)
	copyTree(t, dir, ganesha.Dir())
	copyTree(t, dir, samba.Dir("enc"))
	targets = append(targets,
		newTarget(t, "nfs", ganesha.URL("/data"), remote.Options{}, catalog.Options{}),
		newTarget(t, "smb", samba.URL("enc"), remote.Options{Password: remote.Secret(samba.Password)}, catalog.Options{}))
	require.NotEqual(t, g.history[1]["srv/deep/er/log"], g.history[2]["srv/deep/er/log"])
	for _, to := range targets {
		points := to.points(t, g.vm)
		require.Len(t, points, 5)
		for ref, isDelta := range points[2].Metadata.IsVHDDifferencing {
			require.True(t, isDelta, ref)
		}
		g.requireFiles(to, points[2], 3)
	}

	plain := newTarget(t, "plain", fileURL(t.TempDir()), remote.Options{}, catalog.Options{})
	packed := newTarget(t, "packed", fileURL(t.TempDir()), remote.Options{}, catalog.Options{})
	g.backUp(pipeline.ModeFull, new(pipeline.CompressionNone), plain)
	g.backUp(pipeline.ModeFull, new(pipeline.CompressionZstd), packed)
	g.requireFiles(plain, plain.points(t, g.vm)[0], 5)
	sealed := packed.points(t, g.vm)[0]
	_, err := filerestore.OpenBackup(t.Context(), packed.catalog, sealed, nil)
	require.ErrorIs(t, err, catalog.ErrSequential)
	packed.fails(t, 1, []string{"disk -o"}, "files", "get", "-backup", sealed.ID, "-volume", "home", "-o", filepath.Join(t.TempDir(), "a.zip"), "/etc")
}
