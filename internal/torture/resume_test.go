package torture_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// xoMerge is a VM of a repository that Xen Orchestra wrote, and whose disks are to be
// merged: by us from the beginning, or from where Xen Orchestra was killed.
type xoMerge struct {
	name    string
	golden  func(testing.TB) *testenv.Repository
	key     remote.Secret
	vm      string
	deleted int // of the oldest points, so that there is something to merge
}

func xoMerges() []xoMerge {
	const vm = "000000a0-0000-4000-8000-00000000000"
	return []xoMerge{
		{"files", testenv.Golden, "", vm + "2", 2},
		{"brotli", testenv.Golden, "", vm + "3", 2},
		{"gzip", testenv.Golden, "", vm + "4", 1},
		{"encrypted", testenv.GoldenEncrypted, testenv.GoldenKey, vm + "3", 2},
		{"files, begun by Xen Orchestra", testenv.GoldenInterrupted, "", vm + "9", 0},
		{"directories, begun by Xen Orchestra", testenv.GoldenInterrupted, "", vm + "a", 0},
	}
}

// Killed at any change, a merge leaves disks that read to their content, and is finished
// by the next process, byte for byte.
func TestKillAtAnyChangeOfAMerge(t *testing.T) {
	for _, m := range xoMerges() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seeded(t), 3))
			repo := m.golden(t)
			m.deletePoints(t, repo)
			start := template{repo.Dir}
			faulty := remotetest.NewFaulty(openFolder(t, start.copy(t)))
			require.NoError(t, mergeVM(t.Context(), faulty, m.vm, m.key))
			steps(t, random, faulty.Count(remotetest.Mutating()...), 1, func(t *testing.T, k kill) (killed bool) {
				t.Helper()
				return m.kill(t, start, repo, k)
			})
		})
	}
}

// deletePoints removes the metadata of the oldest points.
func (m *xoMerge) deletePoints(t *testing.T, repo *testenv.Repository) {
	t.Helper()
	folder := openFolder(t, repo.Dir)
	entries, err := folder.ReadDir(t.Context(), "xo-vm-backups/"+m.vm)
	require.NoError(t, err)
	left := m.deleted
	for _, e := range entries {
		if left > 0 && strings.HasSuffix(e.Name(), ".json") {
			require.NoError(t, folder.Remove(t.Context(), path.Join("xo-vm-backups", m.vm, e.Name())))
			left--
		}
	}
	require.Zero(t, left)
}

func (m *xoMerge) kill(t *testing.T, start template, repo *testenv.Repository, k kill) (killed bool) {
	t.Helper()
	dir := start.copy(t)
	folder, err := local.Open(dir, nil)
	require.NoError(t, err)
	defer folder.Close()
	killed = !newChild(t, &orders{Task: "merge", Dir: dir, VM: m.vm, Key: string(m.key), KillAt: k.at, Torn: k.torn}).run(t)
	unlock(t, dir, m.vm)
	require.NoError(t, m.check(t.Context(), folder, repo), "%v", k)
	require.NoError(t, mergeVM(t.Context(), folder, m.vm, m.key), "%v", k)
	require.NoError(t, m.check(t.Context(), folder, repo), "%v, after recovery", k)
	left, err := leavings(t.Context(), folder, m.vm, m.key)
	require.NoError(t, err)
	require.Empty(t, left, "%v", k)
	return killed
}

// check reads every disk of every point of the VM.
func (m *xoMerge) check(ctx context.Context, fsys remote.Filesystem, repo *testenv.Repository) error {
	c, err := catalog.Open(ctx, fsys, &catalog.Options{Key: m.key})
	if err != nil {
		return err
	}
	for p, err := range c.Points(ctx, m.vm) {
		if err != nil {
			return err
		}
		for _, info := range c.Disks(p) {
			want := repo.Backups["/"+p.ID].Disks[info.SourceVDI].SHA256
			got, err := digest(ctx, c, p, info.Ref)
			if err == nil && got != want {
				err = fmt.Errorf("the content is %s, and was %s", got, want)
			}
			if err != nil {
				return fmt.Errorf("%s: disk %s: %w", p.ID, info.SourceVDI, err)
			}
		}
	}
	return nil
}

func digest(ctx context.Context, c *catalog.Catalog, p *catalog.Point, ref string) (text string, err error) {
	d, err := c.OpenDisk(ctx, p, ref)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(d, 0, d.Size())); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
