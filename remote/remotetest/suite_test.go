package remotetest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func TestEveryFilesystemOfThisModuleThatNeedsNoServerPassesTheSuite(t *testing.T) {
	disk, err := local.Open(t.TempDir(), nil)
	require.NoError(t, err)
	for name, fsys := range map[string]remote.Filesystem{
		"local":           disk,
		"crash":           remotetest.NewCrash(),
		"faulty":          remotetest.NewFaulty(remotetest.NewCrash()),
		"trace":           remotetest.NewTrace(disk),
		"no capabilities": struct{ remote.Filesystem }{remotetest.NewCrash()},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, remotetest.Test(t.Context(), fsys))
		})
	}
}

func TestLocalDisksPassTheHarness(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, remotetest.TestHarness(t.Context(), remotetest.Harness{
		Open: func(context.Context) (remote.Filesystem, error) { return local.Open(dir, nil) },
	}))
}
