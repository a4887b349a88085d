package catalog_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

const evidenceTree = ".xenbackup/evidence"

// expireAndMerge leaves so many points, and returns what Merge did.
func expireAndMerge(t *testing.T, fsys remote.Filesystem, opts *catalog.Options, keep int) *catalog.MergeReport {
	t.Helper()
	c, err := catalog.Open(t.Context(), fsys, opts)
	require.NoError(t, err)
	s := lockVM(t, c, testVM)
	_, err = s.Expire(t.Context(), catalog.Retention{ScheduleID: testSchedule, Keep: keep})
	require.NoError(t, err)
	report, err := s.Merge(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, s.Close(t.Context()))
	return report
}

func filesIn(ctx context.Context, t *testing.T, fsys remote.Filesystem, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range listFiles(t, fsys, dir) {
		data, err := remote.ReadFile(ctx, fsys, name, 64<<20)
		require.NoError(t, err)
		files[name] = data
	}
	return files
}

// mergeAsXO merges without a change of what is known of the disks.
func mergeAsXO(t *testing.T, fsys *remotetest.Crash, opts *catalog.Options, keep int) {
	t.Helper()
	known := filesIn(t.Context(), t, fsys, evidenceTree)
	require.NotEmpty(t, expireAndMerge(t, fsys, opts, keep).Merged)
	require.NoError(t, remote.RemoveAll(t.Context(), fsys, evidenceTree))
	for name, data := range known {
		require.NoError(t, remote.MkdirAll(t.Context(), fsys, path.Dir(name)))
		require.NoError(t, remote.WriteFile(t.Context(), fsys, name, data))
	}
}

// Xen Orchestra merges disks of ours, of which nobody tells us, and later we merge the
// disk that it made into the next one: nothing looks corrupt.
func TestMergesOfOursAfterThoseOfXenOrchestraLookCorruptToNobody(t *testing.T) {
	for _, format := range []catalog.DiskFormat{catalog.FormatFile, catalog.FormatPlain} {
		for _, points := range []int{4, 5, 6} {
			t.Run(fmt.Sprint(format, points), func(t *testing.T) {
				opts := &catalog.Options{Format: format}
				_, fsys := repositoryOf(t, points, opts)
				for keep := points - 1; keep > 0; keep-- {
					if (points-keep)%2 == 1 {
						mergeAsXO(t, fsys, opts, keep)
					} else {
						expireAndMerge(t, fsys, opts, keep)
					}
					c, err := catalog.Open(t.Context(), fsys, opts)
					require.NoError(t, err)
					for _, v := range verifyAll(t, c, &catalog.VerifyOptions{Level: catalog.VerifyData}) {
						require.Equal(t, catalog.Valid, v.Verdict, "%d points: %s: %v", keep, v.Point, v.Findings)
					}
				}
			})
		}
	}
}

// sums makes evidence of what a hostile server likes.
func sums(line string) []byte {
	body := []byte(line + "\n")
	sum := sha256.Sum256(body)
	return append(body, sum[:]...)
}

// What is known of a disk may be anything: a merge goes on without it, and takes nothing
// away that it names.
func TestHostileEvidenceOfAMergeIsNoHarm(t *testing.T) {
	for name, line := range map[string]string{
		"of no disk":       `{"version":1,"file":%q}`,
		"null":             `null`,
		"no chain":         `{"version":1,"file":%q,"disk":{}}`,
		"chain":            `{"version":1,"file":%q,"disk":{"chain":["../../../../` + testVM + `/20260301T030000Z.json",%q]}}`,
		"another disk":     `{"version":1,"file":%q,"disk":{"chain":["20260301T010000Z.vhd","20260301T020000Z.vhd"]}}`,
		"of another point": `{"version":1,"file":"xo-vm-backups/x","disk":{}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, fsys := newRepository(t, 3)
			for _, disk := range listFiles(t, fsys, testVMDir) {
				if !strings.HasSuffix(disk, ".vhd") {
					continue
				}
				text := line
				if n := strings.Count(line, "%q"); n > 0 {
					text = fmt.Sprintf(line, []any{disk, path.Base(disk)}[:n]...)
				}
				next := evidenceTree + strings.TrimPrefix(disk, "xo-vm-backups") + ".sums.next"
				require.NoError(t, remote.WriteFile(t.Context(), fsys, next, sums(text)))
			}
			report := expireAndMerge(t, fsys, &catalog.Options{}, 2)
			require.NotEmpty(t, report.Merged)
			require.Empty(t, report.Unknown)
			for _, v := range verifyAll(t, openCatalog(t, fsys), &catalog.VerifyOptions{Level: catalog.VerifyData}) {
				require.Equal(t, catalog.Valid, v.Verdict, v.Findings)
				require.True(t, v.Evidence == catalog.EvidenceComplete || name == "another disk", v.Notes)
			}
		})
	}
}

// Damaged evidence is named, and makes of a good point one that cannot be proven; merges
// go on.
func TestDamagedEvidenceMakesNoPointCorrupt(t *testing.T) {
	_, fsys := newRepository(t, 3)
	for name, data := range filesIn(t.Context(), t, fsys, evidenceTree) {
		require.NoError(t, remote.WriteFile(t.Context(), fsys, name, bytes.ToUpper(data)))
	}
	verdicts := verifyAll(t, openCatalog(t, fsys), &catalog.VerifyOptions{Level: catalog.VerifyData})
	require.Len(t, verdicts, 3)
	for _, v := range verdicts {
		require.Equal(t, catalog.Unknown, v.Verdict)
		require.NotEmpty(t, v.Findings)
		for _, f := range v.Findings {
			require.True(t, strings.HasPrefix(f.File, evidenceTree), f)
			require.Equal(t, catalog.Corrupt, f.Verdict)
		}
	}
	require.NotEmpty(t, expireAndMerge(t, fsys, &catalog.Options{}, 2).Merged)
}
