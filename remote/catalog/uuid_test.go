package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/vhd"
)

func TestUUIDsThatXenOrchestraForgetsAreRefused(t *testing.T) {
	for text, known := range map[string]bool{
		"6f2e1c3a-9b7d-4c55-8a21-0d4f3b2a1c00": true,
		"6f2e1c3a-9b7d-1c55-ba21-0d4f3b2a1c00": true,
		"6f2e1c3a-9b7d-6c55-8a21-0d4f3b2a1c00": false, // a later version
		"6f2e1c3a-9b7d-4c55-ca21-0d4f3b2a1c00": false, // another variant
		"00000000-0000-0000-0000-000000000000": false,
	} {
		uuid, err := vhd.ParseUUID(text)
		require.NoError(t, err)
		require.Equal(t, known, knownToXO(uuid), text)
	}
}
