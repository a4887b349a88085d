package nfs_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

func TestGaneshaPassesTheSuite(t *testing.T) {
	g, opts := ganesha(t)
	require.NoError(t, remotetest.TestHarness(t.Context(), remotetest.Harness{
		Open:  opener(testenv.ExportData, opts),
		Break: func() error { g.Kill(); return nil },
		Mend: func() error {
			g.Start(t)
			return nil
		},
		Full:     opener(testenv.ExportFull, opts),
		ReadOnly: opener(testenv.ExportRO, opts),
	}))
}
