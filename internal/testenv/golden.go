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
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
)

//go:embed golden/plain.tar.zst
var plainArchive []byte

//go:embed golden/encrypted.tar.zst
var encryptedArchive []byte

//go:embed golden/interrupted.tar.zst
var interruptedArchive []byte

// The archives are decompressed once in a process: that takes longer than all the rest,
// and many tests want them.
var (
	plainTar       = sync.OnceValues(func() ([]byte, error) { return decompress(plainArchive) })
	encryptedTar   = sync.OnceValues(func() ([]byte, error) { return decompress(encryptedArchive) })
	interruptedTar = sync.OnceValues(func() ([]byte, error) { return decompress(interruptedArchive) })
)

func decompress(archive []byte) ([]byte, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(1<<27), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return z.DecodeAll(archive, make([]byte, 0, 112<<20)) // room for all, which to find out takes longest
}

// Repository is a backup repository that Xen Orchestra wrote, unpacked for one
// test, with what each of its backups must give.
type Repository struct {
	Dir     string                    // the root of the repository
	Backups map[string]ExpectedBackup // by path, such as "/xo-vm-backups/<vm>/<date>.json"

	// InterruptedMerges are the directories with a merge that Xen Orchestra did not finish.
	InterruptedMerges []string
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
	return repository(tb, plainTar, "plain")
}

// GoldenKey is the key of the repository that [GoldenEncrypted] unpacks.
const GoldenKey = "fedcba9876543210fedcba9876543210"

// GoldenEncrypted unpacks a fresh copy of a repository that Xen Orchestra
// encrypted with [GoldenKey].
func GoldenEncrypted(tb testing.TB) *Repository {
	tb.Helper()
	return repository(tb, encryptedTar, "encrypted")
}

// GoldenInterrupted unpacks a fresh copy of a repository in which Xen Orchestra
// was killed while it merged the disks of two VMs, kept as files and as
// directories. What it expects holds before those merges are finished, and after.
func GoldenInterrupted(tb testing.TB) *Repository {
	tb.Helper()
	return repository(tb, interruptedTar, "interrupted")
}

// repository unpacks an archive that holds the directory name and what it must give.
func repository(tb testing.TB, content func() ([]byte, error), name string) *Repository {
	tb.Helper()
	dir := tb.TempDir()
	archive, err := content()
	if err != nil {
		tb.Fatalf("decompress the golden repository %s: %v", name, err)
	}
	if err := unpack(dir, archive); err != nil {
		tb.Fatalf("unpack the golden repository %s: %v", name, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, name+".expected.json"))
	if err != nil {
		tb.Fatalf("read what the golden repository must give: %v", err)
	}
	var expected struct {
		Backups map[string]ExpectedBackup `json:"backups"`
		Merges  []string                  `json:"interruptedMerges"`
	}
	if err := json.Unmarshal(raw, &expected); err != nil {
		tb.Fatalf("%s.expected.json: %v", name, err)
	}
	return &Repository{Dir: filepath.Join(dir, name), Backups: expected.Backups, InterruptedMerges: expected.Merges}
}

func unpack(dir string, archive []byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
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
	if _, err := io.CopyBuffer(struct{ io.Writer }{f}, r, make([]byte, 1<<20)); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
