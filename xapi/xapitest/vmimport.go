package xapitest

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"time"

	"github.com/xenbackup/xenbackup/xva"
)

// putVM serves PUT /import: an XVA archive becomes a machine.
func (p *Pool) putVM(ctx context.Context, x *exchange) {
	t := p.openTransfer(ctx, x, importVMRequest)
	if t == nil {
		return
	}
	t.run(ctx, t.importVM)
}

// importVM answers 200 before it reads the body: only the task tells how it
// went. Its result is the references of the machines.
func (t *transfer) importVM(ctx context.Context) (string, error) {
	if wantsChunked(t.x.req) {
		return t.refuse(http.StatusForbidden, fail("IMPORT_ERROR_CANNOT_HANDLE_CHUNKED"))
	}
	query := t.x.req.URL.Query()
	sr, err := t.pool.importSR(query.Get("sr_id") + query.Get("sr_uuid"))
	if err != nil {
		return t.refuse(http.StatusInternalServerError, err)
	}
	if err := t.x.begin("task-id: " + t.task); err != nil {
		return "", fail("CLIENT_ERROR", err.Error())
	}
	im := &importer{
		pool: t.pool, task: t.task, sr: sr, restore: query.Get("restore") == "true", force: query.Get("force") == "true",
	}
	if err := t.receiveArchive(ctx, im); err != nil {
		if !im.force {
			im.undo()
		}
		if ctx.Err() == nil && !errors.Is(err, errBroken) {
			t.x.html(http.StatusInternalServerError)
		}
		return "", archiveFailure(ctx, err)
	}
	return xmlText(im.vms)
}

// importSR returns the repository for the disks: the pool's default one when the
// query names none.
func (p *Pool) importSR(id string) (ref string, err error) {
	if id != "" {
		ref, _, err = p.db.byRefOrUUID("SR", id)
		return ref, err
	}
	for _, pool := range p.recordsWhere("pool", func(record) bool { return true }) {
		ref = pool.str("default_SR")
	}
	if _, err := p.db.record("SR", ref); err != nil {
		return "", fail("DEFAULT_SR_NOT_FOUND", ref)
	}
	return ref, nil
}

// archiveBody returns the body of an upload, which ends with its length or,
// without one, with the connection.
func (t *transfer) archiveBody(ctx context.Context) *archiveReader {
	length, ok := t.x.length()
	if !ok {
		length = math.MaxInt64
	}
	return &archiveReader{uploadReader{
		ctx: func() error { return context.Cause(ctx) }, t: t, remain: length,
		breakNow: func() error { return t.breakNow(ctx) },
	}}
}

// archiveReader leaves it to the archive to say whether it is complete.
type archiveReader struct{ uploadReader }

// Read ends with io.EOF where a disk's upload would be too short.
func (r *archiveReader) Read(p []byte) (int, error) {
	n, err := r.uploadReader.Read(p)
	if errors.Is(err, errShortBody) {
		err = io.EOF
	}
	return n, err
}

// receiveArchive makes the objects when ova.xml has come, then fills the disks.
func (t *transfer) receiveArchive(ctx context.Context, im *importer) error {
	if t.fault != nil && t.fault.err != nil {
		return t.fault.err
	}
	r, err := xva.NewReader(t.archiveBody(ctx), nil)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if err := im.check(r.OVA()); err != nil {
		return err
	}
	if err := im.make(r.OVA()); err != nil {
		return err
	}
	var refs []string
	for _, d := range r.Disks() {
		refs = append(refs, im.made[d.ID])
	}
	detach, err := t.pool.attach(readWrite, refs...)
	if err != nil {
		return err
	}
	defer detach()
	w := &archiveDisks{pool: t.pool, refs: im.made}
	err = errors.Join(t.readDisks(ctx, r, w), w.close())
	im.finish()
	return err
}

// readDisks fills the disks. A host stops reading a plain archive after its last
// disk; here the two blocks that end it are read too, and no padding. A
// compressed one is read to its end.
func (t *transfer) readDisks(ctx context.Context, r *xva.Reader, w *archiveDisks) error {
	for !r.Covered() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		chunk, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.write(chunk); err != nil {
			return err
		}
	}
	if r.Compression() == xva.None {
		t.readEnd()
		return nil
	}
	_, err := r.Next()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// endPatience is how long an import that is complete waits for the end of its
// archive.
const endPatience = time.Second

// readEnd takes what has arrived of the end of the archive from the connection:
// to close it with bytes unread resets it.
func (t *transfer) readEnd() {
	length, ok := t.x.length()
	if rest := length - t.moved; ok && rest <= 2*sectorSize {
		_ = t.x.conn.SetReadDeadline(time.Now().Add(endPatience)) // a client may keep the end for itself
		_, _ = io.CopyN(io.Discard, t.x.body, rest)               // or have left
	}
}

// archiveDisks writes the chunks of an archive to the disks made for them.
type archiveDisks struct {
	pool *Pool
	refs map[string]string // by id in the archive

	id   string // the disk that is open
	file *diskWriter
}

func (w *archiveDisks) write(chunk xva.Chunk) error {
	if w.id != chunk.Disk.ID {
		if err := w.close(); err != nil {
			return err
		}
		vdi, err := w.pool.db.record("VDI", w.refs[chunk.Disk.ID])
		if err != nil {
			return err
		}
		f, err := w.pool.disks.writer(vdi.str("uuid"))
		if err != nil {
			return err
		}
		w.id = chunk.Disk.ID
		w.file = &diskWriter{file: f, size: vdi.int("virtual_size"), free: w.pool.freeSpace(vdi.str("SR"))}
	}
	return w.file.write(chunk.Data, chunk.Off)
}

// close ends the disk that is open.
func (w *archiveDisks) close() error {
	if w.file == nil {
		return nil
	}
	err := w.file.file.Close()
	if vdi, ok := w.refs[w.id]; ok {
		if rec, err := w.pool.db.record("VDI", vdi); err == nil {
			w.pool.accountDisk(vdi, rec.str("uuid"))
		}
	}
	w.id, w.file = "", nil
	return err
}

// archiveFailure names the error of an import as a host does.
func archiveFailure(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*failure](err); ok || ctx.Err() != nil || errors.Is(err, errBroken) {
		return transferFailure(ctx, err)
	}
	format, ok := errors.AsType[*xva.FormatError](err)
	if !ok {
		return transferFailure(ctx, err)
	}
	switch {
	case errors.Is(err, xva.ErrTruncated), errors.Is(err, xva.ErrIncomplete):
		return fail("IMPORT_ERROR_PREMATURE_EOF")
	case errors.Is(err, xva.ErrChecksum):
		return fail("IMPORT_ERROR_SOME_CHECKSUMS_FAILED")
	case errors.Is(err, xva.ErrNotXVA):
		return fail("IMPORT_ERROR_UNEXPECTED_FILE", "ova.xml", format.Member)
	case errors.Is(err, xva.ErrMember), errors.Is(err, xva.ErrOrder):
		return fail("IMPORT_ERROR_UNEXPECTED_FILE", "the next chunk", format.Member)
	default:
		return fail("IMPORT_ERROR_GENERIC", err.Error())
	}
}
