package catalog_test

import (
	"context"
	"encoding/json"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func verifyAll(t *testing.T, c *catalog.Catalog, opts *catalog.VerifyOptions) []*catalog.PointVerdict {
	t.Helper()
	verdicts, err := verdictsOf(t.Context(), c, opts)
	require.NoError(t, err)
	return verdicts
}

func verdictsOf(ctx context.Context, c *catalog.Catalog, opts *catalog.VerifyOptions) (verdicts []*catalog.PointVerdict, err error) {
	for v, err := range c.Verify(ctx, opts) {
		if err != nil {
			return verdicts, err
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

// What Xen Orchestra wrote has no evidence, and is valid at every level, also in
// the middle of its merges.
func TestVerifyFindsNothingWrongWithGoldenRepositories(t *testing.T) {
	t.Parallel()
	plain, sealedRepo, interrupted := testenv.Golden(t), testenv.GoldenEncrypted(t), testenv.GoldenInterrupted(t)
	for _, repo := range []struct {
		*testenv.Repository
		key remote.Secret
	}{{plain, ""}, {sealedRepo, testenv.GoldenKey}, {interrupted, ""}} {
		c, err := catalog.Open(t.Context(), localFS(t, repo.Dir), &catalog.Options{Key: repo.key})
		require.NoError(t, err)
		for _, level := range []catalog.VerifyLevel{catalog.VerifyQuick, catalog.VerifyStructure, catalog.VerifyData} {
			if level == catalog.VerifyStructure && underRace {
				continue // the next one does it too
			}
			verdicts := verifyAll(t, c, &catalog.VerifyOptions{Level: level})
			require.Len(t, verdicts, len(repo.Backups))
			for _, v := range verdicts {
				require.Equal(t, catalog.Valid, v.Verdict, "%s: %v", v.Point, v.Findings)
				require.Empty(t, v.Findings)
				require.NotEqual(t, catalog.EvidenceComplete, v.Evidence)
			}
		}
	}
}

// Of what we write every byte is proven, and stays so through merges.
func TestVerifyDataProvesWhatWasWrittenThroughMerges(t *testing.T) {
	m, fsys := newRepository(t, 3)
	c := openCatalog(t, fsys)
	for range 4 {
		for _, level := range []catalog.VerifyLevel{catalog.VerifyQuick, catalog.VerifyStructure, catalog.VerifyData} {
			for _, v := range verifyAll(t, c, &catalog.VerifyOptions{Level: level}) {
				require.Equal(t, catalog.Valid, v.Verdict, "%s: %v", v.Point, v.Findings)
				if level == catalog.VerifyData {
					require.Equal(t, catalog.EvidenceComplete, v.Evidence, v.Notes)
					require.NotZero(t, v.Bytes+1)
				}
			}
		}
		committed, err := m.backup(t.Context(), fsys, 2)
		require.NoError(t, err)
		require.True(t, committed)
	}
	known := map[string]bool{}
	for _, name := range listFiles(t, fsys, "xo-vm-backups") {
		known[".xenbackup/evidence"+strings.TrimPrefix(name, "xo-vm-backups")+".sums"] = true
	}
	for _, name := range listFiles(t, fsys, ".xenbackup/evidence") {
		require.True(t, known[name], "evidence of what is no more: %s", name)
	}
}

// A merge that stopped at any operation never makes a point look corrupt, neither
// before nor after it is finished.
func TestVerifyNeverCallsAnInterruptedMergeCorrupt(t *testing.T) {
	sweep(t, func(n int) bool {
		_, fsys, fired := interruptMerge(t, n)
		for range 2 {
			c := openCatalog(t, fsys)
			for _, v := range verifyAll(t, c, &catalog.VerifyOptions{Level: catalog.VerifyData}) {
				require.Equal(t, catalog.Valid, v.Verdict, "operation %d: %s: %v", n, v.Point, v.Findings)
			}
			s, err := c.LockVM(t.Context(), testVM)
			require.NoError(t, err)
			_, err = s.Merge(t.Context(), nil)
			require.NoError(t, err)
			require.NoError(t, s.Close(t.Context()))
		}
		for _, v := range verifyAll(t, openCatalog(t, fsys), &catalog.VerifyOptions{Level: catalog.VerifyData}) {
			require.Equal(t, catalog.EvidenceComplete, v.Evidence, "operation %d: %v", n, v.Notes)
		}
		return fired
	})
}

// Whoever stops a verification at any checkpoint goes on from there, and has every
// point reported once.
func TestVerifyResumesFromEachCheckpoint(t *testing.T) {
	_, fsys := newRepository(t, 3)
	c := openCatalog(t, fsys)
	var states [][]byte
	all := verifyAll(t, c, &catalog.VerifyOptions{Level: catalog.VerifyData, Checkpoint: func(s *catalog.VerifyState) error {
		data, err := json.Marshal(s)
		states = append(states, data)
		return err
	}})
	require.Len(t, all, 3)
	require.Greater(t, len(states), 6)
	for i, data := range states {
		var state catalog.VerifyState
		require.NoError(t, json.Unmarshal(data, &state))
		rest := verifyAll(t, c, &catalog.VerifyOptions{Level: catalog.VerifyData, Resume: &state})
		done := slices.IndexFunc(all, func(v *catalog.PointVerdict) bool { return v.Point == state.Point }) + 1
		require.Len(t, rest, len(all)-done, "checkpoint %d", i)
		for k, v := range rest {
			require.Equal(t, all[done+k].Verdict, v.Verdict)
			require.LessOrEqual(t, v.Bytes, all[done+k].Bytes)
		}
	}
	_, err := verdictsOf(t.Context(), c, &catalog.VerifyOptions{Resume: &catalog.VerifyState{Version: 99}})
	require.ErrorIs(t, err, catalog.ErrVerifyState)
}

// An error of the storage makes a point unknown, never corrupt, and changes nothing.
func TestVerifyCallsWhatCannotBeReadUnknown(t *testing.T) {
	_, base := newRepository(t, 2)
	kinds := []remotetest.Kind{remotetest.Open, remotetest.Read}
	overlooked := 0
	sweep(t, func(n int) bool {
		faulty := remotetest.NewFaulty(base)
		c := openCatalog(t, faulty)
		faulty.FailAt(n, os.ErrDeadlineExceeded, kinds...)
		verdicts, err := verdictsOf(t.Context(), c, &catalog.VerifyOptions{Level: catalog.VerifyData, Workers: 1})
		fired := faulty.Fired() > 0
		if !fired {
			require.NoError(t, err)
			return false
		}
		unknown := 0
		for _, v := range verdicts {
			require.NotEqual(t, catalog.Corrupt, v.Verdict, "read %d: %v", n, v.Findings)
			if v.Verdict == catalog.Unknown {
				unknown++
			}
		}
		if err == nil && unknown == 0 {
			overlooked++
		}
		return fired
	})
	require.LessOrEqual(t, overlooked, 2, "one of the two names that each of two disks gives its parent")
}

// A point that Xen Orchestra has merged is not corrupt: what is known is out of date.
func TestVerifySaysOutdatedAfterAMergeByAnotherTool(t *testing.T) {
	_, fsys := newRepository(t, 3)
	for _, name := range listFiles(t, fsys, ".xenbackup") {
		if path.Base(name) == "20260301T010000Z.json.sums" {
			require.NoError(t, fsys.Remove(t.Context(), name))
		}
	}
	hidden := t.Context()
	require.NoError(t, fsys.Remove(hidden, pointName(1)))
	require.NoError(t, fsys.Rename(hidden, ".xenbackup", ".elsewhere")) // the other tool does not know of it
	s := lockVM(t, openCatalog(t, fsys), testVM)
	_, err := s.Merge(hidden, nil)
	require.NoError(t, err)
	require.NoError(t, s.Close(hidden))
	require.NoError(t, remote.RemoveAll(hidden, fsys, ".xenbackup"))
	require.NoError(t, fsys.Rename(hidden, ".elsewhere", ".xenbackup"))

	verdicts := verifyAll(t, openCatalog(t, fsys), &catalog.VerifyOptions{Level: catalog.VerifyData})
	require.Len(t, verdicts, 2)
	for _, v := range verdicts {
		require.Equal(t, catalog.Valid, v.Verdict, v.Findings)
		require.Equal(t, catalog.EvidenceOutdated, v.Evidence)
		require.NotEmpty(t, v.Notes)
	}
}

// After a verification has found a disk corrupt, the next backup of it is complete
// and does not depend on it; the one after that is a difference again.
func TestNoBackupIsADifferenceToWhatIsCorrupt(t *testing.T) {
	for _, opts := range []*catalog.Options{{}, {Format: catalog.FormatBrotli}} {
		m, fsys := repositoryOf(t, 2, opts)
		c, err := catalog.Open(t.Context(), fsys, opts)
		require.NoError(t, err)
		damaged := ""
		for _, name := range listFiles(t, fsys, testVMDir+"/vdis/"+testJob+"/"+sourceVDI(0)) {
			if path.Base(name) == "20260301T020000Z.vhd" || strings.HasSuffix(name, "20260301T020000Z.vhd/blocks/0/0") {
				damaged = name
			}
		}
		data, err := remote.ReadFile(t.Context(), fsys, damaged, 64<<20)
		require.NoError(t, err)
		data[len(data)/2] ^= 1
		require.NoError(t, remote.WriteFile(t.Context(), fsys, damaged, data))
		s := lockVM(t, c, testVM)
		for _, v := range verifyAll(t, c, &catalog.VerifyOptions{Level: catalog.VerifyData}) {
			require.NoError(t, s.Distrust(t.Context(), v))
		}
		require.NoError(t, s.Close(t.Context()))
		for range 2 {
			_, err := m.backup(t.Context(), fsys, 100)
			require.NoError(t, err)
		}
		points := listPoints(t, c, testVM)
		require.False(t, points[2].Metadata.IsVHDDifferencing[diskRef(0, 3)])
		require.True(t, points[2].Metadata.IsVHDDifferencing[diskRef(1, 3)], "the other disk")
		require.True(t, points[3].Metadata.IsVHDDifferencing[diskRef(0, 4)])
		verdicts := verifyAll(t, c, &catalog.VerifyOptions{Level: catalog.VerifyData})
		require.Equal(t, catalog.Corrupt, verdicts[1].Verdict)
		require.Equal(t, catalog.Valid, verdicts[2].Verdict, verdicts[2].Findings)
		require.Equal(t, catalog.Valid, verdicts[3].Verdict)
	}
}
