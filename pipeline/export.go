package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi"
)

var (
	// errPartialBlock: the pool sent a block of a delta of which some sectors must
	// come from the base. Hosts send whole blocks; a repository keeps whole blocks.
	errPartialBlock = errors.New("pipeline: block with sectors missing")
	// errUnexpectedStream: what the pool sends has another form than was asked for.
	errUnexpectedStream = errors.New("pipeline: unexpected form of export")
	// errBroken: an export that the pool had begun ends too early.
	errBroken = errors.New("pipeline: the export broke off")
)

// verdictTimeout bounds the wait for the pool's word on an export that failed,
// and what of its stream is read for it.
const verdictTimeout = 30 * time.Second

// exportDisks moves all disks of the snapshot to the targets that are left.
func (v *vmRun) exportDisks(ctx context.Context, s *snapshot) error {
	group, ctx := errgroup.WithContext(ctx)
	if n := v.settings.DiskPerVMConcurrency; n > 0 {
		group.SetLimit(n)
	}
	for _, d := range s.disks {
		group.Go(func() error {
			if err := v.exportDisk(ctx, d); err != nil {
				return fmt.Errorf("disk %s: %w", d.sourceUUID(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// exportDisk moves one disk, under a slot.
func (v *vmRun) exportDisk(ctx context.Context, d *snapshotDisk) error {
	slot, release, err := v.acquire(ctx, OpDiskExport)
	if err != nil {
		return err
	}
	defer release()
	return slotError(slot, v.transferDisk(slot, d))
}

// transferDisk reads a disk once and writes it to every target that is left. If
// the pool cannot give a delta, the disk is read in full. The error is the
// source's; a target that fails is dropped, and when none is left the error is
// ErrNoTarget.
func (v *vmRun) transferDisk(ctx context.Context, d *snapshotDisk) (err error) {
	download, stream, err := v.openStream(ctx, d)
	if err != nil && d.base != nil && ctx.Err() == nil && deltaRefused(err) {
		v.task.Warning("delta export failed, the disk is exported in full", map[string]any{
			"disk": d.sourceUUID(), "error": err.Error(),
		})
		d.base = nil
		download, stream, err = v.openStream(ctx, d)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeDownload(download, err)) }()

	f := v.newFan(ctx, d, stream)
	defer f.abort()
	if err := f.pump(ctx, stream, v.budget); err != nil {
		return explain(ctx, download, err)
	}
	if err := stream.Close(); err != nil { // its structure is complete
		return explain(ctx, download, err)
	}
	if err := download.Finish(ctx); err != nil { // and so was its transport
		return err
	}
	return f.close()
}

// openStream asks the pool for the disk and reads as far as the table of its
// blocks, from which on the size of what comes is known.
func (v *vmRun) openStream(ctx context.Context, d *snapshotDisk) (*xapi.Download, *vhd.StreamReader, error) {
	opts := &xapi.ExportVDIOptions{Format: "vhd", Name: "xenbackup: " + d.vdi.NameLabel + v.label}
	if d.base != nil {
		opts.Base = d.base.snapshot
	}
	download, err := v.pool.ExportVDI(ctx, d.ref, opts)
	if err != nil {
		return nil, nil, err
	}
	begin := &beginning{r: v.throttled(ctx, download)}
	stream, err := vhd.NewStreamReader(begin)
	if err == nil {
		err = checkStream(stream, d.base != nil)
	} else if begin.isVHD() {
		err = fmt.Errorf("%w: %w", errBroken, err)
	}
	if err != nil {
		err = explain(ctx, download, err)
		return nil, nil, errors.Join(err, closeDownload(download, err))
	}
	return download, stream, nil
}

// deltaRefused tells a pool that cannot give a delta from a connection that
// broke, or a session that ended: after those a full export would be no better.
func deltaRefused(err error) bool {
	if errors.Is(err, errUnexpectedStream) {
		return true
	}
	for _, broken := range []error{
		errBroken, xapi.ErrTruncated, xapi.ErrStalled, xapi.ErrUnreachable, xapi.ErrConnectionLost, xapi.ErrTaskCancelled,
		xapi.ErrSessionInvalid, xapi.ErrHostIsSlave,
	} {
		if errors.Is(err, broken) {
			return false
		}
	}
	var refusal *xapi.Error
	return errors.As(err, &refusal)
}

// closeDownload closes a download; after a failure only that counts.
func closeDownload(download *xapi.Download, failure error) error {
	if err := download.Close(); failure == nil {
		return err
	}
	return nil
}

// explain adds to an error in the stream what the pool says was the matter: a
// host that fails amid an export cuts it, or sends an error page into it.
func explain(ctx context.Context, download *xapi.Download, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, ours := range []error{ErrNoTarget, errUnexpectedStream, errPartialBlock} {
		if errors.Is(err, ours) {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, verdictTimeout)
	defer cancel()
	reason := download.Finish(ctx)
	if reason == nil || ctx.Err() != nil || errors.Is(err, reason) {
		return err
	}
	return fmt.Errorf("%w: %w", reason, err)
}

// checkStream refuses a stream that the repository could not keep as it is meant.
func checkStream(stream *vhd.StreamReader, delta bool) error {
	want := vhd.Dynamic
	if delta {
		want = vhd.Differencing
	}
	switch {
	case stream.BlockSize() != disk.BlockSize:
		return fmt.Errorf("%w: blocks of %d bytes", errUnexpectedStream, stream.BlockSize())
	case stream.Type() != want:
		return fmt.Errorf("%w: disk type %v for %v", errUnexpectedStream, stream.Type(), want)
	}
	return nil
}

// newFan opens the disk on every target that is left.
func (v *vmRun) newFan(ctx context.Context, d *snapshotDisk, stream *vhd.StreamReader) *fan {
	f := &fan{}
	for _, t := range v.alive() {
		spec := catalog.DiskSpec{
			Ref: string(d.ref), SourceVDI: d.sourceUUID(), SnapshotVDI: d.vdi.UUID,
			Size: stream.Size(), Blocks: stream.Blocks(),
		}
		if d.base != nil {
			spec.Base = d.base.on[t]
		}
		t.progress(int64(len(spec.Blocks))*disk.BlockSize, 0)
		if err := t.checkRoom(ctx, spec.Base); err != nil {
			t.drop(err)
			continue
		}
		writer, err := t.disks.CreateDisk(ctx, spec)
		if err != nil {
			t.drop(err)
			continue
		}
		f.outputs = append(f.outputs, &output{target: t, writer: diskSink{writer}})
	}
	return f
}

// pump moves all blocks of the stream to the outputs.
func (f *fan) pump(ctx context.Context, stream *vhd.StreamReader, budget *disk.Budget) error {
	f.start()
	defer f.wait()
	last := int64(-1)
	for f.left() > 0 {
		block, err := budget.Block(ctx)
		if err != nil {
			return err
		}
		index, bitmap, err := stream.Next(block.Bytes())
		switch {
		case errors.Is(err, io.EOF):
			block.Release()
			return nil
		case err == nil && bitmap != nil:
			err = errPartialBlock
		case err == nil && int64(index) <= last:
			err = fmt.Errorf("%w: block %d after block %d", errUnexpectedStream, index, last)
		}
		if err != nil {
			block.Release()
			return err
		}
		last = int64(index)
		if err := f.send(ctx, &sharedBlock{Block: block, data: block.Bytes(), index: index}); err != nil {
			return err
		}
	}
	return ErrNoTarget
}
