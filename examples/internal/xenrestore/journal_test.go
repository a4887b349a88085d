package xenrestore

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
)

// Whenever a verification is killed, what it and the next one report together is what
// one report would have been: no point twice, none missing.
func TestJournalMissesNoPointWheneverItEnds(t *testing.T) {
	t.Parallel()
	fsys, err := local.Open(testenv.Golden(t).Dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fsys.Close()) })
	cat, err := catalog.Open(t.Context(), fsys, nil)
	require.NoError(t, err)
	errKilled := errors.New("killed")

	// verify goes on with the journal until the checkpoint with this number, and tells
	// whether that came; 0 is none.
	verify := func(path string, killed int) (points []string, ended bool) {
		opts := &catalog.VerifyOptions{Level: catalog.VerifyStructure, Workers: 1}
		j, err := loadJournal(path, opts)
		require.NoError(t, err)
		keep, n := opts.Checkpoint, 0
		opts.Checkpoint = func(s *catalog.VerifyState) error {
			if n++; n == killed {
				return errors.Join(errKilled, j.flush()) // what would have been written by now
			}
			return keep(s)
		}
		for v, err := range cat.Verify(t.Context(), opts) {
			if errors.Is(err, errKilled) {
				return nil, true
			}
			require.NoError(t, err)
			require.NoError(t, j.add(v))
		}
		for _, v := range j.Points {
			points = append(points, v.Point)
		}
		return points, false
	}
	dir := t.TempDir()
	want, _ := verify(filepath.Join(dir, "whole"), 0)
	require.Len(t, want, 20)
	for _, killed := range []int{1, 2, 5, 21} {
		path := filepath.Join(dir, "state")
		_, ended := verify(path, killed)
		require.True(t, ended)
		_, ended = verify(path, 4)
		require.True(t, ended, "once more")
		got, _ := verify(path, 0)
		require.Equal(t, want, got, "killed at checkpoint %d", killed)
		j := &journal{path: path}
		require.NoError(t, j.remove())
		require.NoError(t, j.remove())
	}
}
