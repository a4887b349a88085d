package catalog

import (
	"crypto/md5"
	"crypto/sha256"
	"hash"
)

// ArchiveSum computes the checksums of an archive apart from writing it, once for all
// the writers that use it: see [ArchiveWriter.UseSum]. MD5, which Xen Orchestra wants
// beside an archive, is slower than anything else that is done with it, so that it
// better never waits for a disk. It is for one goroutine, which need not be that of
// the writers.
type ArchiveSum struct {
	md5, sha256 hash.Hash // nil: no writer wants it
	size        int64
}

// NewArchiveSum returns the checksums of nothing.
func NewArchiveSum() *ArchiveSum { return new(ArchiveSum) }

// Write adds the next bytes of the archive. It never fails.
func (a *ArchiveSum) Write(p []byte) (int, error) {
	for _, h := range []hash.Hash{a.md5, a.sha256} {
		if h != nil {
			_, _ = h.Write(p)
		}
	}
	a.size += int64(len(p))
	return len(p), nil
}

// want makes the sum compute what an archive of a repository needs: its MD5, or where
// the repository is sealed, its SHA-256.
func (a *ArchiveSum) want(sealed bool) {
	switch {
	case sealed && a.sha256 == nil:
		a.sha256 = sha256.New()
	case !sealed && a.md5 == nil:
		a.md5 = md5.New()
	}
}

// of returns what want asked for.
func (a *ArchiveSum) of(sealed bool) []byte {
	if sealed {
		return a.sha256.Sum(nil)
	}
	return a.md5.Sum(nil)
}
