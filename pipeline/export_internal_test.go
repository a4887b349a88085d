package pipeline

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

func TestOnlyAPoolThatAnsweredRefusesADelta(t *testing.T) {
	t.Parallel()
	require.True(t, deltaRefused(fmt.Errorf("export: %w", &xapi.Error{Code: "VDI_INCOMPATIBLE_TYPE"})))
	for _, err := range []error{
		xapi.ErrSessionInvalid, xapi.ErrHostIsSlave, xapi.ErrConnectionLost, xapi.ErrTruncated, xapi.ErrStalled, xapi.ErrUnreachable, errors.New("other"),
	} {
		require.False(t, deltaRefused(fmt.Errorf("export: %w", err)), err)
	}
}
