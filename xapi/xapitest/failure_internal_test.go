package xapitest

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFullDiskBelowThePoolIsAFullRepository(t *testing.T) {
	t.Parallel()
	err := asFailure(&os.PathError{Op: "write", Path: "a place on this machine", Err: syscall.ENOSPC})
	require.ErrorContains(t, err, "SR_BACKEND_FAILURE_44")
	require.NotContains(t, err.Error(), "a place")
}
