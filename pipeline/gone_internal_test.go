package pipeline

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

// A VM whose destruction fails over something else that is gone is still there.
func TestGoneIsTheObjectItself(t *testing.T) {
	vm := xapi.Ref[xapi.VM]("OpaqueRef:vm")
	gone := func(ref string) error {
		return fmt.Errorf("destroy: %w", &xapi.Error{Method: "VM.destroy", Code: "HANDLE_INVALID", Params: []string{"VM", ref}})
	}
	require.True(t, isGone(gone("OpaqueRef:vm"), vm))
	require.False(t, isGone(gone("OpaqueRef:vbd"), vm))
	require.False(t, isGone(&xapi.Error{Code: "VDI_IN_USE", Params: []string{"VDI", "OpaqueRef:vm"}}, vm))
	require.False(t, isGone(nil, vm))
}
