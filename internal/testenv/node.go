package testenv

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"go/build"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

//go:embed npm/package-lock.json
var npmLock []byte

// NodeModules returns the folder in which "make peers" has installed the
// packages of internal/testenv/npm: $GOPATH/xenbackup-tools/npm-<hash>, where
// the hash is the first 12 digits of the SHA-256 of package-lock.json, so that a
// change of the lock is never served by an older installation.
func NodeModules(tb testing.TB) string {
	tb.Helper()
	sum := sha256.Sum256(npmLock)
	dir := filepath.Join(build.Default.GOPATH, "xenbackup-tools", "npm-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		Missing(tb, "the packages of internal/testenv/npm are not installed in %s: run make peers", dir)
	}
	return dir
}

// Node runs a JavaScript module with the packages of NodeModules and returns
// what it printed. It ends with the test.
func Node(tb testing.TB, script []byte, args ...string) (output string, err error) {
	tb.Helper()
	node := Require(tb, "node")
	// the script is the test's own
	cmd := exec.CommandContext(tb.Context(), node, append([]string{"--input-type=module", "-"}, args...)...)
	cmd.Dir = NodeModules(tb)
	cmd.Stdin = bytes.NewReader(script)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
