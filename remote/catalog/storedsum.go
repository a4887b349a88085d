package catalog

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
)

// checksumSuffix is what the file with the checksum of an archive has after its name.
const checksumSuffix = ".checksum"

// maxChecksum bounds such a file: the longest that makes sense has 134 bytes.
const maxChecksum = 1 << 10

// storedSum is the checksum that lies beside an archive, and the sum of what was read
// so far.
type storedSum struct {
	name string // md5, sha256, sha512
	want string // lower-case hex
	hash hash.Hash
}

func (s *storedSum) fits() bool { return hex.EncodeToString(s.hash.Sum(nil)) == s.want }

// readSum reads the checksum of an archive; nil when there is none that can be used.
// A power cut may leave an empty file, since Xen Orchestra does not sync: that says
// nothing about the archive. Until 2025 it wrote checksums in encrypted repositories
// too, of the bytes as they are stored; there the tag is the better proof.
func (c *Catalog) readSum(ctx context.Context, archive string) (*storedSum, error) {
	if c.isSealed {
		return nil, nil //nolint:nilnil // none is needed
	}
	text, err := remote.ReadFile(ctx, c.fsys, archive+checksumSuffix, maxChecksum)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil //nolint:nilnil // there is none
	case err != nil && !errors.Is(err, remote.ErrTooLarge):
		return nil, fmt.Errorf("catalog: checksum of an archive: %w", err)
	}
	sum := parseSum(string(text))
	if sum == nil {
		c.log.WarnContext(ctx, "the checksum of an archive makes no sense, and is not used", "archive", archive)
	}
	return sum, nil
}

// parseSum decodes "$<algorithm>$<salt>$<hex>", as Xen Orchestra writes it: algorithm 1
// is MD5, the only one that it uses; 5 is SHA-256, 6 is SHA-512. There is no salt.
func parseSum(text string) *storedSum {
	parts := strings.Split(strings.TrimSpace(text), "$")
	if len(parts) != 4 || parts[0] != "" || parts[2] != "" {
		return nil
	}
	s := &storedSum{want: strings.ToLower(parts[3])}
	switch parts[1] {
	case "1":
		s.name, s.hash = "md5", md5.New() // the format's choice; it guards against accidents
	case "5":
		s.name, s.hash = "sha256", sha256.New()
	case "6":
		s.name, s.hash = "sha512", sha512.New()
	default:
		return nil
	}
	if digest, err := hex.DecodeString(s.want); err != nil || len(digest) != s.hash.Size() {
		return nil
	}
	return s
}
