package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xva"
)

// exportArchive moves the archive of a VM to the targets that are left, under a slot;
// the export of the VM itself has one.
func (v *vmRun) exportArchive(ctx context.Context, source *snapshot) error {
	if v.isVM(source) {
		return v.transferArchive(ctx, source)
	}
	slot, release, err := v.acquire(ctx, OpVMExport)
	if err != nil {
		return err
	}
	defer release()
	return slotError(slot, v.transferArchive(slot, source))
}

// transferArchive reads the archive once and writes it to every target that is left.
// It is proven complete by its own end and checksums, and by the pool's word. The
// error is the source's; a target that fails is dropped, and when none is left the
// error is ErrNoTarget.
func (v *vmRun) transferArchive(ctx context.Context, source *snapshot) (err error) {
	compression, err := v.compression(ctx)
	if err != nil {
		return err
	}
	if err := v.checkArchiveRoom(ctx); err != nil {
		return err
	}
	download, err := v.pool.ExportVM(ctx, source.ref, &xapi.ExportVMOptions{
		Compression: compression,
		// A VM that was suspended is backed up with its memory, and comes back suspended.
		PreservePowerState: source.vm.PowerState == "Suspended",
		Name:               "xenbackup: " + v.vm.NameLabel + v.label,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeDownload(download, err)) }()

	proof := xva.NewProof()
	f := v.newArchiveFan(proof)
	defer f.abort()
	if err := f.pumpArchive(ctx, v.throttled(ctx, download), v.budget); err != nil {
		return explain(ctx, download, err)
	}
	if err := f.close(); err != nil { // its structure is complete
		return explain(ctx, download, err)
	}
	if err := download.Finish(ctx); err != nil { // and so was its transport
		return err
	}
	if got := proof.Compression().String(); compression != xapi.CompressNone && got != string(compression) {
		v.task.Warning("the pool did not compress as it was asked", map[string]any{"asked": string(compression), "got": got})
	}
	return nil
}

// newArchiveFan opens the archive for every target that is left, its proof, and the
// checksum that they all store.
func (v *vmRun) newArchiveFan(proof *xva.Proof) *fan {
	sum := catalog.NewArchiveSum()
	f := &fan{outputs: []*output{{writer: proofSink{proof}}, {writer: sumSink{sum}}}}
	for _, t := range v.alive() {
		t.archive.UseSum(sum)
		f.outputs = append(f.outputs, &output{target: t, writer: archiveSink{t.archive}})
	}
	return f
}

// pumpArchive moves all of the stream to the outputs.
func (f *fan) pumpArchive(ctx context.Context, stream io.Reader, budget *disk.Budget) error {
	f.start()
	defer f.wait()
	for f.verdict() == nil {
		block, err := budget.Block(ctx)
		if err != nil {
			return err
		}
		n, err := readFull(stream, block.Bytes())
		if n == 0 {
			block.Release()
		} else if err := f.send(ctx, &sharedBlock{Block: block, data: block.Bytes()[:n]}); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return f.verdict()
}

// readFull reads until p is full or r fails. The error is that of r.
func readFull(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var read int
		read, err = r.Read(p[n:])
		n += read
	}
	return n, err
}

// proofSink judges an archive.
type proofSink struct{ *xva.Proof }

func (s proofSink) put(b *sharedBlock) error {
	_, err := s.Write(b.data)
	return err
}

func (s proofSink) close() error {
	if err := s.Close(); err != nil {
		return fmt.Errorf("pipeline: the export is no complete archive: %w", err)
	}
	return nil
}

func (s proofSink) abort() error {
	s.Abort()
	return nil
}

// sumSink computes the checksums of an archive.
type sumSink struct{ *catalog.ArchiveSum }

func (s sumSink) put(b *sharedBlock) error {
	_, err := s.Write(b.data)
	return err
}

func (sumSink) close() error { return nil }
func (sumSink) abort() error { return nil }

// archiveSink appends to the archive of a point. The point commits or aborts it.
type archiveSink struct{ *catalog.ArchiveWriter }

func (s archiveSink) put(b *sharedBlock) error {
	_, err := s.Write(b.data)
	return err
}

func (archiveSink) close() error { return nil }
func (archiveSink) abort() error { return nil }
