package catalog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/xva"
)

// checkArchive looks at the archive of a full point.
func (c *pointCheck) checkArchive(ctx context.Context, p *Point) error {
	name, err := archiveName(p)
	if err != nil {
		c.fail(p.ID, err)
		return nil
	}
	f := &fileVerdict{VerifiedFile: VerifiedFile{File: name, Verdict: Valid, Evidence: EvidenceAbsent}, most: c.opts.MaxFindings}
	err = c.lookAtArchive(ctx, p, f)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		f.fail(name, -1, -1, err)
	}
	c.include(f)
	return nil
}

func (c *pointCheck) lookAtArchive(ctx context.Context, p *Point, f *fileVerdict) (err error) {
	info, err := c.fsys().Stat(ctx, f.File)
	if err != nil {
		return err
	}
	if p.Metadata.Size > 0 && info.Size() != p.Metadata.Size {
		return fmt.Errorf("%d bytes, where %d were written: %w", info.Size(), p.Metadata.Size, errShort)
	}
	if !c.atLeast(VerifyStructure) {
		return nil
	}
	known, err := c.checkSum(ctx, f)
	if err != nil {
		return err
	}
	a, err := c.c.OpenArchive(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if a.Proof() == "" && known == nil {
		f.Notes = append(f.Notes, f.File+" has no checksum beside it")
	}
	if err := c.checkEnd(ctx, a); err != nil || !c.atLeast(VerifyData) {
		return err
	}
	return c.readArchive(ctx, a, known)
}

// checkSum looks at the checksum beside an archive, and returns what else is known
// of the archive: its digest.
func (c *pointCheck) checkSum(ctx context.Context, f *fileVerdict) (known *digest, err error) {
	e, err := readEvidence(ctx, c.fsys(), f.File, "")
	switch {
	case errors.Is(err, errEvidence):
		f.fail(evidenceName(f.File), -1, -1, err)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err == nil:
		f.Evidence = EvidenceComplete
	}
	if !c.c.isSealed {
		err = c.checkSumFile(ctx, f, e)
	} else {
		err = nil
	}
	if e == nil || len(e.Content) == 0 {
		return nil, err
	}
	return &e.Content[0], err
}

// checkSumFile looks at the checksum file itself.
func (c *pointCheck) checkSumFile(ctx context.Context, f *fileVerdict, e *evidence) error {
	name := f.File + checksumSuffix
	text, err := remote.ReadFile(ctx, c.fsys(), name, maxChecksum)
	switch {
	case errors.Is(err, fs.ErrNotExist) && e == nil:
		return nil
	case err != nil:
		f.fail(name, -1, -1, err)
	case e != nil && string(text) != e.Checksum, parseSum(string(text)) == nil:
		f.fail(name, -1, -1, errNotWritten)
	}
	return context.Cause(ctx)
}

// checkEnd looks whether a plain archive ends as one.
func (c *pointCheck) checkEnd(ctx context.Context, a *Archive) error {
	if a.kind != xva.None || c.c.isSealed {
		return nil
	}
	if a.size%tarBlock != 0 || a.size < archiveEnd {
		return fmt.Errorf("%d bytes: %w", a.size, xva.ErrTruncated)
	}
	end := make([]byte, archiveEnd)
	if err := c.wait(ctx, archiveEnd); err != nil {
		return err
	}
	if n, err := a.file.ReadAt(end, a.size-archiveEnd); n < len(end) {
		return err
	}
	if slices.ContainsFunc(end, func(b byte) bool { return b != 0 }) {
		return fmt.Errorf("its end is missing: %w", xva.ErrTruncated)
	}
	return nil
}

// readArchive reads all of it. What nothing else proves is taken apart, since the
// chunks in it have checksums of their own.
func (c *pointCheck) readArchive(ctx context.Context, a *Archive, known *digest) error {
	r := &limitedReader{ctx: ctx, v: c.verifier, r: a, sum: sha256.New()}
	if a.Proof() == "" && known == nil {
		return drainXVA(r)
	}
	if _, err := io.CopyBuffer(io.Discard, r, make([]byte, 1<<20)); err != nil {
		return err
	}
	if known != nil && *known != digest(r.sum.Sum(nil)) {
		return errNotWritten
	}
	return nil
}

func drainXVA(r io.Reader) error {
	x, err := xva.NewReader(r, nil)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = x.Next()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, x.Close())
}

// limitedReader keeps to the rate, and takes the digest.
type limitedReader struct {
	ctx context.Context //nolint:containedctx // lives for one file
	v   *verifier
	r   io.Reader
	sum hash.Hash
}

func (r *limitedReader) Read(p []byte) (int, error) {
	p = p[:min(len(p), 1<<20)]
	if err := r.v.wait(r.ctx, int64(len(p))); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	_, _ = r.sum.Write(p[:n]) // never fails
	return n, err
}
