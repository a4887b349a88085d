package catalog

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"strings"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// diskRecorder takes the digests of a disk while it is written, aside.
type diskRecorder struct {
	layout vhd.Layout

	mu sync.Mutex
	e  *evidence
}

func newDiskRecorder(name string, layout vhd.Layout) *diskRecorder {
	e := newEvidence(name)
	e.Disk = &diskEvidence{
		UUID: layout.UUID.String(), Parent: layout.ParentUUID.String(), Complete: true,
		Blocks: len(layout.Blocks), Size: layout.Size,
	}
	return &diskRecorder{layout: layout, e: e}
}

// head returns out as the writer of the head of a file, which is all that is
// written before the first block.
func (r *diskRecorder) head(out io.Writer) (w io.Writer, done func()) {
	t := &headTap{out: out, sum: sha256.New()}
	return t, func() {
		t.ended = true
		r.e.Disk.HeadLength, r.e.Disk.Head = t.n, digest(t.sum.Sum(nil))
		r.e.Disk.FileSize, r.e.Disk.Gaps = r.layout.StreamSize(), true
	}
}

type headTap struct {
	out   io.Writer
	sum   hash.Hash
	n     int64
	ended bool
}

func (t *headTap) Write(p []byte) (int, error) {
	if !t.ended {
		_, _ = t.sum.Write(p) // never fails
		t.n += int64(len(p))
	}
	return t.out.Write(p)
}

// block runs write, and meanwhile takes the digest of the block of a file as it
// will be there: what is missing of 2 MiB, or beyond the end of the disk, is zeros.
func (r *diskRecorder) block(index uint32, data []byte, write func() error) error {
	var sum digest
	var aside sync.WaitGroup
	aside.Go(func() { sum = r.sumBlock(index, data) })
	err := write()
	aside.Wait()
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.e.blocks[index] = sum
	}
	return err
}

func (r *diskRecorder) sumBlock(index uint32, data []byte) digest {
	end := min(int64(disk.BlockSize), max(0, r.layout.Size-int64(index)*disk.BlockSize), int64(len(data)))
	if end == disk.BlockSize {
		return sha256.Sum256(data[:end])
	}
	h := sha256.New()
	_, _ = h.Write(data[:end])
	zeros := make([]byte, 64<<10)
	for left := disk.BlockSize - end; left > 0; left -= min(left, int64(len(zeros))) {
		_, _ = h.Write(zeros[:min(left, int64(len(zeros)))])
	}
	return digest(h.Sum(nil))
}

// dir returns dir as the place of a disk that is kept as the directory target.
func (r *diskRecorder) dir(dir vhd.DirMaker, target string) vhd.DirMaker {
	r.e.Disk.Target, r.e.Disk.Files = target, map[string]digest{}
	r.e.Disk.Alias = sha256.Sum256([]byte(target))
	return &recordedDir{DirMaker: dir, r: r}
}

// recordedDir takes the digest of each file that is written through it.
type recordedDir struct {
	vhd.DirMaker
	r *diskRecorder
}

// WriteFile implements vhd.Dir.
func (d *recordedDir) WriteFile(ctx context.Context, name string, data []byte) error {
	if err := d.DirMaker.WriteFile(ctx, name, data); err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	rel := strings.TrimPrefix(name, d.r.e.Disk.Target+"/")
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	if index, ok := blockOf(rel); ok {
		d.r.e.blocks[index] = sum
	} else {
		d.r.e.Disk.Files[rel] = sum
	}
	return nil
}

// store writes what was recorded, durably. Nothing relies on it before its point
// has its metadata.
func (r *diskRecorder) store(ctx context.Context, fsys remote.Filesystem) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return writeEvidence(ctx, fsys, r.e, "")
}

// recordPoint writes down what the metadata of a point must be: data. old, which may
// be nil, is what it was until now: while it is replaced both are right.
func recordPoint(ctx context.Context, fsys remote.Filesystem, name string, data, old []byte) error {
	p, err := parsePoint(name, data)
	if err != nil {
		return err
	}
	e := newEvidence(name)
	e.Content = []digest{sha256.Sum256(data)}
	if old != nil {
		e.Content = append(e.Content, sha256.Sum256(old))
	}
	if e.Rest, err = sumOfRest(data); err != nil {
		return err
	}
	e.JobID, e.Timestamp = p.Metadata.JobID, p.Metadata.Timestamp
	return writeEvidence(ctx, fsys, e, "")
}
