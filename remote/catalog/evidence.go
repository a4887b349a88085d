package catalog

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/crypt"
)

// evidenceDir holds, per file of a backup that this library wrote, what that file
// must contain. Xen Orchestra leaves dot files at the root of a repository alone.
// The evidence of xo-vm-backups/<vm>/<name> is .xenbackup/evidence/<vm>/<name>.sums.
const (
	evidenceDir    = ".xenbackup/evidence"
	evidenceSuffix = ".sums"
	nextSuffix     = ".next" // of a disk as a merge that has begun will leave it

	evidenceVersion = 1
	evidenceEntry   = 4 + sha256.Size
	// maxEvidence is that of a disk of 4 TiB, all of it written.
	maxEvidence = 80 << 20
)

// digest is a SHA-256, in lower case hex where it is text.
type digest [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler.
func (d digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("catalog: %.80q is no digest", text)
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// evidence is what a file of a backup must contain. It is stored as a line of
// JSON, an entry of 36 bytes per block (index, big-endian, and SHA-256), and the
// SHA-256 of all that.
type evidence struct {
	Version int    `json:"version"`
	Tool    string `json:"tool"` // that wrote the file
	File    string `json:"file"` // from the root: evidence found under another name is none

	// Of a whole file: the digests that are right, the newest first. While metadata
	// is replaced there are two.
	Content []digest `json:"content,omitempty"`
	// Of an archive: the text of the file beside it, where there is one.
	Checksum string `json:"checksum,omitempty"`
	// Of metadata.
	Rest      digest `json:"rest,omitzero"` // of what merges leave as it is, see sumOfRest
	JobID     string `json:"jobId,omitempty"`
	Timestamp int64  `json:"timestamp,omitempty"`

	Disk *diskEvidence `json:"disk,omitempty"`

	blocks map[uint32]digest
}

// diskEvidence describes a disk; what its blocks hold is in evidence.blocks: of
// a file their 2 MiB, of a directory the files that they are.
type diskEvidence struct {
	UUID     string `json:"uuid"`     // the snapshot VDI it was exported from
	Parent   string `json:"parent"`   // uuid of the parent, zeros when it is complete
	Complete bool   `json:"complete"` // every block of the disk is among those that follow
	Blocks   int    `json:"blocks"`
	Size     int64  `json:"size"` // virtual

	// Of a file. The head is the footer's copy, the header and the table.
	FileSize   int64  `json:"fileSize,omitempty"`
	HeadLength int64  `json:"headLength,omitempty"` // 0: not known
	Head       digest `json:"head,omitzero"`
	// Gaps: what lies between the structures is zeros, but for these.
	Gaps bool  `json:"gaps,omitempty"`
	Used []gap `json:"used,omitempty"`

	// Of a directory.
	Target string            `json:"target,omitempty"` // what the alias stands for, relative to its directory
	Files  map[string]digest `json:"files,omitempty"`  // besides those of blocks, relative to the target
	Alias  digest            `json:"alias,omitzero"`

	Chain []string `json:"chain,omitempty"` // of a merge that has begun: the disks, oldest first
}

// gap is a piece of a file that belongs to no structure and is not zeros.
type gap struct {
	Off    int64  `json:"off"`
	Len    int64  `json:"len"`
	Digest digest `json:"digest"`
}

// toolVersion names what writes, as the build tells it.
var toolVersion = sync.OnceValue(func() string {
	const name = "github.com/xenbackup/xenbackup"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return name
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == name && m.Version != "" {
			return name + "@" + m.Version
		}
	}
	return name
})

func newEvidence(file string) *evidence {
	return &evidence{Version: evidenceVersion, Tool: toolVersion(), File: file, blocks: map[uint32]digest{}}
}

// evidenceName returns where the evidence of a file of a backup is.
func evidenceName(file string) string {
	return path.Join(evidenceDir, strings.TrimPrefix(file, vmRoot+"/")) + evidenceSuffix
}

func (e *evidence) encode() ([]byte, error) {
	line, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(line)+1+len(e.blocks)*evidenceEntry+sha256.Size)
	b = append(append(b, line...), '\n')
	for _, index := range slices.Sorted(maps.Keys(e.blocks)) {
		sum := e.blocks[index]
		b = append(binary.BigEndian.AppendUint32(b, index), sum[:]...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

var errEvidence = errors.New("the evidence itself is damaged")

func decodeEvidence(file string, b []byte) (*evidence, error) {
	if len(b) < sha256.Size {
		return nil, errEvidence
	}
	body, trailer := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], trailer) {
		return nil, errEvidence
	}
	line, entries, found := bytes.Cut(body, []byte{'\n'})
	e := newEvidence("")
	if err := json.Unmarshal(line, e); err != nil || !found || len(entries)%evidenceEntry != 0 {
		return nil, errEvidence
	}
	switch {
	case e.Version != evidenceVersion: // newer than we know
		return nil, fs.ErrNotExist
	case e.File != file:
		return nil, fmt.Errorf("%w: it is that of %q", errEvidence, e.File)
	case e.Disk != nil && slices.ContainsFunc(e.Disk.Chain, func(name string) bool { return !isElement(name) }):
		return nil, errEvidence
	}
	for ; len(entries) > 0; entries = entries[evidenceEntry:] {
		e.blocks[binary.BigEndian.Uint32(entries)] = digest(entries[4:evidenceEntry])
	}
	return e, nil
}

// readEvidence returns fs.ErrNotExist when there is none, and errEvidence when it
// is damaged. kind is "" or nextSuffix.
func readEvidence(ctx context.Context, fsys remote.Filesystem, file, kind string) (*evidence, error) {
	name := evidenceName(file) + kind
	data, err := remote.ReadFile(ctx, fsys, name, maxEvidence)
	if err == nil {
		var e *evidence
		if e, err = decodeEvidence(file, data); err == nil && (e.Disk != nil || kind != nextSuffix) {
			return e, nil
		}
		err = cmp.Or(err, errEvidence)
	}
	if errors.Is(err, crypt.ErrTampered) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, remote.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", errEvidence, err)
	}
	return nil, fmt.Errorf("catalog: evidence %s: %w", name, err)
}

func writeEvidence(ctx context.Context, fsys remote.Filesystem, e *evidence, kind string) error {
	name := evidenceName(e.File) + kind
	data, err := e.encode()
	if err == nil {
		err = remote.MkdirAll(ctx, fsys, path.Dir(name))
	}
	if err == nil {
		err = remote.WriteFile(ctx, fsys, name, data)
	}
	if err != nil {
		return fmt.Errorf("catalog: evidence %s: %w", name, err)
	}
	return nil
}

// removeEvidence removes what is known of a file that is no more.
func removeEvidence(ctx context.Context, fsys remote.Filesystem, file string) error {
	for _, kind := range []string{"", nextSuffix} {
		if err := fsys.Remove(ctx, evidenceName(file)+kind); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("catalog: %w", err)
		}
	}
	return nil
}

// maxSmall bounds the files of a disk kept as a directory that are not blocks.
const maxSmall = 8 << 20

// evidenceOf is the inverse of evidenceName for base names.
func evidenceOf(base string) (name, kind string, ok bool) {
	if rest, isNext := strings.CutSuffix(base, nextSuffix); isNext {
		base, kind = rest, nextSuffix
	}
	name, ok = strings.CutSuffix(base, evidenceSuffix)
	return name, kind, ok && isElement(name)
}
