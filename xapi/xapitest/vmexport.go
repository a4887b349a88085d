package xapitest

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/xenbackup/xenbackup/xva"
)

// getVM serves GET /export: a whole machine as an XVA archive.
func (p *Pool) getVM(ctx context.Context, x *exchange) {
	t := p.openTransfer(ctx, x, exportVMRequest)
	if t == nil {
		return
	}
	t.run(ctx, func(ctx context.Context) (string, error) {
		err := t.exportVM(ctx)
		_ = x.conn.Close()
		return "", err
	})
}

// exportVM sends the header, then attaches the disks and streams the archive.
// What goes wrong after the header shows as an error page in the body.
func (t *transfer) exportVM(ctx context.Context) error {
	e, err := t.pool.planVMExport(t.x.req)
	if err != nil {
		_, err = t.refuse(http.StatusInternalServerError, err)
		return err
	}
	if err := t.x.beginOld("task-id: "+t.task, "content-type: application/octet-stream",
		`content-disposition: attachment; filename="export.xva"`); err != nil {
		return fail("CLIENT_ERROR", err.Error())
	}
	id := t.task
	_ = t.pool.edit(schema()["VM"], e.vm, func(vm record) (record, error) { // it exists
		return record{"current_operations": put(vm.dict("current_operations"), id, "export")}, nil
	})
	err = t.streamArchive(ctx, e)
	_ = t.pool.edit(schema()["VM"], e.vm, func(vm record) (record, error) { // it may be gone
		return record{"current_operations": drop(vm.dict("current_operations"), id)}, nil
	})
	if err == nil || ctx.Err() != nil || errors.Is(err, errBroken) {
		return err
	}
	t.x.html(http.StatusInternalServerError)
	if _, ok := errors.AsType[*failure](err); !ok {
		err = fail("CLIENT_ERROR", err.Error())
	}
	return err
}

// vmExport is one planned download of a machine.
type vmExport struct {
	vm          string
	ova         *xva.OVA
	disks       map[string]string // references by id in the archive
	compression xva.Compression
}

// planVMExport finds what the query names, and whether it may be exported now.
func (p *Pool) planVMExport(r *http.Request) (*vmExport, error) {
	query := r.URL.Query()
	ref, _, err := p.db.byRefOrUUID("VM", query.Get("ref")+query.Get("uuid"))
	if err != nil {
		return nil, err
	}
	preserve, err := flag(query.Get("preserve_power_state"), false)
	if err != nil {
		return nil, err
	}
	if err := p.db.update(func(tx tx) error { return tx.allowed(ref, "export", "Halted", "Suspended") }); err != nil {
		return nil, err
	}
	e := &vmExport{vm: ref}
	switch query.Get("use_compression") {
	case "true", "gzip":
		e.compression = xva.Gzip
	case "zstd":
		e.compression = xva.Zstd
	}
	e.ova, e.disks, err = p.archive(&archiver{preserve: preserve}, ref)
	return e, err
}

// flag reads a boolean of a query: the literals alone.
func flag(text string, unset bool) (bool, error) {
	if text == "" {
		return unset, nil
	}
	if text != "true" && text != "false" {
		return false, fail("INTERNAL_ERROR", "Invalid_argument(bool_of_string "+strconv.Quote(text)+")")
	}
	return text == "true", nil
}

// streamArchive moves the body, with the disks attached to the control domain.
func (t *transfer) streamArchive(ctx context.Context, e *vmExport) error {
	if t.fault != nil && t.fault.err != nil {
		return t.fault.err
	}
	listed, err := e.ova.Disks()
	if err != nil {
		return err
	}
	refs := make([]string, 0, len(listed))
	for _, d := range listed {
		refs = append(refs, e.disks[d.ID])
	}
	detach, err := t.pool.attach(readOnly, refs...)
	if err != nil {
		return err
	}
	defer detach()
	z, err := xva.NewCompressor(bodyWriter(func(b []byte) error { return t.send(ctx, b) }), e.compression)
	if err != nil {
		return err
	}
	w, err := xva.NewWriter(z, e.ova, &xva.WriterOptions{Checksum: chunkChecksum(e.ova.Version)})
	if err != nil {
		return err
	}
	for i, d := range listed {
		if err := t.writeDisk(ctx, w, d, refs[i]); err != nil {
			return err
		}
		t.pool.setProgress(t.task, float64(i+1)/float64(len(listed)+1))
	}
	return errors.Join(w.Close(), z.Close())
}

// chunkChecksum is how hosts of that version guard their chunks: SHA-1 up to the
// generation of XCP-ng 8.2.
func chunkChecksum(v xva.Version) xva.Checksum {
	if v.XapiMajor < 20 {
		return xva.SHA1
	}
	return xva.XXHash
}

func (t *transfer) writeDisk(ctx context.Context, w *xva.Writer, d xva.Disk, ref string) error {
	vdi, err := t.pool.db.record("VDI", ref)
	if err != nil {
		return err
	}
	f, err := t.pool.disks.open(vdi.str("uuid"))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	blocks, err := t.pool.disks.dataBlocks(ctx, f, d.Size)
	if err != nil {
		return err
	}
	return w.WriteDisk(ctx, d.ID, &rawSource{file: f, size: d.Size, blocks: blocks})
}

// bodyWriter is a body as an io.Writer.
type bodyWriter func(b []byte) error

func (w bodyWriter) Write(b []byte) (int, error) {
	if err := w(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// beginOld writes the header of an answer in HTTP/1.0, as /export does.
func (x *exchange) beginOld(header ...string) error {
	x.keep = false
	var b bytes.Buffer
	b.WriteString("HTTP/1.0 200 OK\r\nconnection: close\r\nserver: xapi\r\ncache-control: no-cache, no-store\r\n")
	for _, line := range header {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	_, err := x.conn.Write(b.Bytes())
	return err
}
