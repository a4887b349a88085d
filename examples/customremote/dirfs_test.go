package main

import (
	"context"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func TestDirFSPassesTheSuite(t *testing.T) {
	u := &url.URL{Scheme: "dir", Path: filepath.ToSlash(t.TempDir())}
	open := func(ctx context.Context) (remote.Filesystem, error) { return openDir(ctx, u, nil) }
	require.NoError(t, remotetest.TestHarness(t.Context(), remotetest.Harness{Open: open}))
}
