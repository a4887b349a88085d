package testenv_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
)

func TestGoldenUnpacksEveryBackupItExpects(t *testing.T) {
	repo := testenv.Golden(t)
	require.NotEmpty(t, repo.Backups)
	for path := range repo.Backups {
		_, err := os.Stat(filepath.Join(repo.Dir, path))
		require.NoError(t, err)
	}
}
