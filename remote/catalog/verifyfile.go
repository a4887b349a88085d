package catalog

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/xva"
)

var (
	errMisplaced  = errors.New("it is the metadata of another point")
	errNotWritten = errors.New("it is not what was written")
	errForeign    = errors.New("it is another disk than was written under this name")
	errNotZero    = errors.New("there is something where nothing was written")
	errShort      = errors.New("it is not as long as it should be")
)

// judge tells what an error about a file proves.
func judge(err error) Verdict {
	for _, proof := range []error{
		crypt.ErrTampered, fs.ErrNotExist, io.ErrUnexpectedEOF, io.EOF, errEvidence, errMisplaced, errNotWritten, errForeign, errNotZero, errShort,
		vhd.ErrParentNotFound, vhd.ErrParentMismatch, vhd.ErrCycle, vhd.ErrChainTooLong, vhd.ErrIncomplete, vhd.ErrOutside,
		ErrDamaged, ErrIncomplete, ErrInvalidName,
		xva.ErrNotXVA, xva.ErrTruncated, xva.ErrHeader, xva.ErrMember, xva.ErrOrder, xva.ErrChecksum, xva.ErrGap, xva.ErrIncomplete,
		xva.ErrTrailingData, xva.ErrOVA, xva.ErrCompression,
	} {
		if errors.Is(err, proof) {
			return Corrupt
		}
	}
	pe, ok := errors.AsType[*PointError](err)
	if ok && errors.As(pe.Err, new(*fs.PathError)) {
		return Unknown
	}
	if ok || !isUnknown(err) {
		return Corrupt
	}
	return Unknown
}

// fileVerdict is what is known of one file, or of a disk kept as a directory.
type fileVerdict struct {
	VerifiedFile

	most   int // findings
	more   int
	uuid   vhd.UUID
	parent vhd.ParentRef
	isFull bool // a disk without a parent
	isOpen bool // the disk could be opened: the three above are known
}

func (f *fileVerdict) add(finding VerifyFinding) {
	f.Verdict = f.Verdict.worse(finding.weight())
	if len(f.Findings) >= f.most {
		f.more++
		return
	}
	f.Findings = append(f.Findings, finding)
}

// fail notes what is wrong with a place in the file name; block and off may be -1.
func (f *fileVerdict) fail(name string, block, off int64, err error) {
	f.add(VerifyFinding{File: name, Verdict: judge(err), Block: block, Offset: off, Reason: err.Error()})
}

// nameIn returns the file that an error of package vhd is about: one below dir, or
// name when it does not say.
func nameIn(err error, dir, name string) string {
	if fe, ok := errors.AsType[*vhd.FormatError](err); ok && strings.Contains(fe.Name, "/") && fs.ValidPath(fe.Name) {
		if full := path.Join(dir, fe.Name); strings.HasPrefix(full, dir+"/") && !strings.HasPrefix(fe.Name, vmRoot+"/") {
			return full
		}
		return fe.Name
	}
	if pe, ok := errors.AsType[*fs.PathError](err); ok && strings.HasPrefix(pe.Path, dir+"/") {
		return pe.Path
	}
	return name
}
