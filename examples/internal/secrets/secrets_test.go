package secrets_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/examples/internal/secrets"
)

func ExampleFind() {
	secret, err := secrets.Find("", "GREETER_PASSWORD")
	fmt.Printf("%q %v\n", secret, err)
	// Output: "" <nil>
}

func TestSecretComesFromTheNearestPlace(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	find := func(file string) string {
		secret, err := secrets.Find(file, "TEST_SECRET")
		require.NoError(t, err)
		return secret
	}
	t.Setenv("TEST_SECRET_FILE", write("far", "far\r\n"))
	require.Equal(t, "far", find(""))
	t.Setenv("TEST_SECRET", "near")
	require.Equal(t, "near", find(""))
	require.Equal(t, " nearest ", find(write("nearest", " nearest \n")))

	for name, content := range map[string]string{"empty": "\n", "lines": "hidden\nhidden", "long": strings.Repeat("hidden", 1000)} {
		_, err := secrets.Find(write(name, content), "TEST_SECRET")
		require.ErrorContains(t, err, name)
		require.NotContains(t, err.Error(), "hidden")
	}
	_, err := secrets.Find(filepath.Join(dir, "missing"), "TEST_SECRET")
	require.ErrorIs(t, err, fs.ErrNotExist)
}
