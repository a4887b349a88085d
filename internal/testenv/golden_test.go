package testenv_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
)

func TestGoldenUnpacksEveryBackupItExpects(t *testing.T) {
	for _, repo := range []*testenv.Repository{testenv.Golden(t), testenv.GoldenInterrupted(t)} {
		require.NotEmpty(t, repo.Backups)
		for path := range repo.Backups {
			_, err := os.Stat(filepath.Join(repo.Dir, path))
			require.NoError(t, err)
		}
	}
}

func TestGoldenInterruptedHoldsTheMergesThatItNames(t *testing.T) {
	repo := testenv.GoldenInterrupted(t)
	require.Len(t, repo.InterruptedMerges, 2)
	for _, dir := range repo.InterruptedMerges {
		states, err := filepath.Glob(filepath.Join(repo.Dir, dir, ".*.merge.json"))
		require.NoError(t, err)
		require.Len(t, states, 1)
	}
}
