package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/xva"
)

// ErrDamaged is returned for the archive of a full backup that is not what was
// backed up: it has another length than its metadata says, or its checksum does
// not fit. (Of an encrypted repository, the tag that does not fit gives
// crypt.ErrTampered.)
var ErrDamaged = errors.New("the archive is not what was backed up")

// archiveHeld is how much of the end of an archive nobody gets before all of it is
// proven: without it, no pool imports an archive.
const archiveHeld = 1 << 20

// sniffLen is what tells a compression.
const sniffLen = 4

// Archive is the XVA archive of a full backup, read once from its beginning to its
// end, as it is stored: [Archive.Compression] says how. In an encrypted repository it
// is decrypted on the way. It is for one goroutine.
//
// Whoever reads it to io.EOF has what was written, as far as the repository can
// prove it: by the tag of an encrypted file, by the checksum beside a file in clear
// ([Archive.Proof]). The last MiB is held back until then, so an importer that passes
// on what it reads never completes a VM out of bytes that were damaged.
type Archive struct {
	c     *Catalog
	ctx   context.Context //nolint:containedctx // bound at OpenArchive
	point string          // id
	name  string
	file  remote.File
	size  int64
	sum   *storedSum // nil: there is no checksum
	kind  xva.Compression

	buf  []byte // one piece
	rest []byte // of buf, not given out yet
	next int64  // where the next piece begins
	err  error  // final
}

// OpenArchive opens the archive of a full backup to be read as a stream. Its path
// is not trusted: what leaves the directory of the VM gives [ErrOutside]. A point
// without an archive, and an archive that is gone, give fs.ErrNotExist; one whose
// length is not what its metadata says, [ErrDamaged]. ctx bounds the life of the
// Archive, which must be closed.
func (c *Catalog) OpenArchive(ctx context.Context, p *Point) (*Archive, error) {
	name, err := archiveName(p)
	if err != nil {
		return nil, err
	}
	sum, err := c.readSum(ctx, name)
	if err != nil {
		return nil, err
	}
	file, err := c.fsys.OpenFile(ctx, name, os.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("catalog: archive: %w", err)
	}
	a := &Archive{c: c, ctx: ctx, point: p.ID, name: name, file: file, sum: sum}
	if err := a.begin(p.Metadata.Size); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return a, nil
}

// archiveName is the file of the point's archive, from the root of the repository.
func archiveName(p *Point) (string, error) {
	vm, _, err := splitID(p.ID)
	if err != nil {
		return "", err
	}
	dir, err := vmDir(vm)
	if err != nil {
		return "", err
	}
	if p.Metadata.XVA == "" {
		return "", fmt.Errorf("catalog: point %s has no archive: %w", p.ID, fs.ErrNotExist)
	}
	name, err := within(dir, dir, p.Metadata.XVA)
	if err != nil {
		return "", fmt.Errorf("point %s: %w", p.ID, err)
	}
	return name, nil
}

// begin reads the first piece. The pieces that follow are of one length, so that the
// last one is as long as what is held back.
func (a *Archive) begin(recorded int64) error {
	info, err := a.file.Stat()
	if err != nil {
		return fmt.Errorf("catalog: archive %s: %w", a.name, err)
	}
	a.size = info.Size()
	if recorded > 0 && recorded != a.size {
		return fmt.Errorf("catalog: archive %s: %d bytes, where %d were written: %w", a.name, a.size, recorded, ErrDamaged)
	}
	first := a.size % archiveHeld
	if first < sniffLen {
		first += archiveHeld
	}
	a.buf = make([]byte, archiveHeld+sniffLen)
	if err := a.fill(min(first, a.size)); err != nil {
		return err
	}
	if len(a.rest) >= sniffLen {
		a.kind = xva.Sniff(a.rest[:sniffLen])
	}
	return nil
}

// fill reads the next piece, and proves the whole before the last one is given out.
func (a *Archive) fill(length int64) error {
	piece := a.buf[:length]
	if n, err := a.file.ReadAt(piece, a.next); n < len(piece) {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("it ends at byte %d: %w", a.next+int64(n), ErrDamaged)
		}
		return fmt.Errorf("catalog: archive %s: %w", a.name, err)
	}
	a.next += length
	if a.sum != nil {
		_, _ = a.sum.hash.Write(piece) // never fails
		if a.next == a.size && !a.sum.fits() {
			return fmt.Errorf("catalog: archive %s: its %s is not the one beside it: %w", a.name, a.sum.name, ErrDamaged)
		}
	}
	a.rest = piece
	return nil
}

// Read implements io.Reader. io.EOF comes after all was proven; another error, and
// there is nothing more, at the latest before the last MiB.
func (a *Archive) Read(p []byte) (int, error) {
	if a.err == nil && len(a.rest) == 0 {
		a.err = context.Cause(a.ctx)
	}
	if a.err == nil && len(a.rest) == 0 {
		if a.next == a.size {
			a.err = io.EOF
		} else {
			a.err = a.fill(archiveHeld)
		}
	}
	if a.err != nil {
		return 0, a.err
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// Size returns the length of the archive in bytes, decrypted, as compressed as it is.
func (a *Archive) Size() int64 { return a.size }

// Compression returns how the archive is compressed.
func (a *Archive) Compression() xva.Compression { return a.kind }

// Proof says what proves the content: "md5", "sha256" or "sha512" of the checksum
// beside the archive, "tag" of an encrypted file, "" when there is nothing: then only
// the archive's own checksums tell, see package xva.
func (a *Archive) Proof() string {
	switch {
	case a.sum != nil:
		return a.sum.name
	case a.c.isSealed:
		return "tag"
	default:
		return ""
	}
}

// Confirm tells whether the point is still there: [ErrExpired] when it was deleted
// while it was read. What was read is right all the same once Read has said io.EOF.
func (a *Archive) Confirm(ctx context.Context) error { return a.c.confirmPoint(ctx, a.point) }

// Close closes the file.
func (a *Archive) Close() error {
	a.err, a.rest, a.buf = fs.ErrClosed, nil, nil
	return a.file.Close()
}
