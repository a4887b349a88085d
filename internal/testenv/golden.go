package testenv

import (
	"archive/tar"
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

//go:embed golden/plain.tar.zst
var plainArchive []byte

// Repository is a backup repository that Xen Orchestra wrote, unpacked for one
// test, with what each of its backups must give.
type Repository struct {
	Dir     string                    // the root of the repository
	Backups map[string]ExpectedBackup // by path, such as "/xo-vm-backups/<vm>/<date>.json"
}

// ExpectedBackup says what one backup of a [Repository] holds.
type ExpectedBackup struct {
	VM    string                     `json:"vm"`
	Mode  string                     `json:"mode"`  // "full" or "delta"
	Disks map[string]ExpectedContent `json:"disks"` // of a delta backup, by the uuid of the source VDI
	XVA   ExpectedContent            `json:"xva"`   // of a full backup
}

// ExpectedContent is the size in bytes and the SHA-256, in hex, of some content.
type ExpectedContent struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Golden unpacks a fresh copy of the unencrypted repository that Xen Orchestra
// wrote; the test may change it.
func Golden(tb testing.TB) *Repository {
	tb.Helper()
	dir := tb.TempDir()
	if err := unpack(dir, plainArchive); err != nil {
		tb.Fatalf("unpack the golden repository: %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "plain.expected.json"))
	if err != nil {
		tb.Fatalf("read what the golden repository must give: %v", err)
	}
	var expected struct {
		Backups map[string]ExpectedBackup `json:"backups"`
	}
	if err := json.Unmarshal(raw, &expected); err != nil {
		tb.Fatalf("plain.expected.json: %v", err)
	}
	return &Repository{Dir: filepath.Join(dir, "plain"), Backups: expected.Backups}
}

func unpack(dir string, archive []byte) error {
	z, err := zstd.NewReader(bytes.NewReader(archive), zstd.WithDecoderMaxWindow(1<<27))
	if err != nil {
		return err
	}
	defer z.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpackEntry(root, h, r); err != nil {
			return err
		}
	}
}

func unpackEntry(root *os.Root, h *tar.Header, r io.Reader) error {
	name := filepath.Clean(h.Name)
	if h.Typeflag == tar.TypeDir {
		return root.MkdirAll(name, 0o755)
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
