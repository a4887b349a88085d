package xapitest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// maxVHD is the largest disk that format=vhd can hold: 2040 GiB.
const maxVHD = 2040 << 30

// getExport serves GET /export_raw_vdi.
func (p *Pool) getExport(ctx context.Context, x *exchange) {
	t := p.openTransfer(ctx, x, exportRequest)
	if t == nil {
		return
	}
	t.run(ctx, func(ctx context.Context) (string, error) {
		err := t.export(ctx)
		_ = x.conn.Close()
		return "", err
	})
}

// export sends the header, then attaches the disk and streams it. What goes
// wrong after the header shows as an error page in the body.
func (t *transfer) export(ctx context.Context) error {
	e, status, err := t.pool.planExport(t.x.req)
	if err != nil {
		_, err = t.refuse(status, err)
		return err
	}
	if err := t.x.begin("task-id: "+t.task, "content-type: "+e.contentType(),
		fmt.Sprintf(`content-disposition: attachment; filename="%s.%s"`, e.disk.str("uuid"), e.format)); err != nil {
		return fail("VDI_IO_ERROR", "Device I/O errors")
	}
	err = t.stream(ctx, e)
	if err != nil && ctx.Err() == nil && !errors.Is(err, errBroken) {
		t.x.html(http.StatusInternalServerError)
	}
	return transferFailure(ctx, err)
}

// transferFailure names the error of a stream that ended early as a host does.
func transferFailure(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return fail("VDI_IO_ERROR", "Device I/O errors")
}

// export is one planned download.
type export struct {
	ref, baseRef string
	disk, base   record // base is nil for a full export
	format       string
}

func (e *export) contentType() string {
	if e.format == "vhd" {
		return "application/vhd"
	}
	return "application/octet-stream"
}

// planExport finds what the query names.
func (p *Pool) planExport(r *http.Request) (e *export, status int, err error) {
	query := r.URL.Query()
	e = &export{format: strings.ToLower(query.Get("format"))}
	if e.ref, e.disk, err = p.db.byRefOrUUID("VDI", query.Get("vdi")); err != nil {
		return nil, http.StatusInternalServerError, err
	}
	if id := query.Get("base"); id != "" {
		if e.baseRef, e.base, err = p.db.byRefOrUUID("VDI", id); err != nil {
			return nil, http.StatusInternalServerError, err
		}
	}
	switch e.format {
	case "":
		e.format = "raw"
	case "raw", "vhd":
	default:
		return nil, http.StatusNotFound, fail("INTERNAL_ERROR", "Unknown format "+e.format)
	}
	return e, 0, nil
}

// stream moves the body, with the disks attached to the control domain.
func (t *transfer) stream(ctx context.Context, e *export) error {
	if t.fault != nil && t.fault.err != nil {
		return t.fault.err
	}
	if e.format == "vhd" && e.disk.int("virtual_size") > maxVHD {
		return fail("VDI_TOO_LARGE", e.ref, fmt.Sprint(int64(maxVHD)))
	}
	refs := []string{e.ref}
	if e.base != nil {
		refs = append(refs, e.baseRef)
	}
	detach, err := t.pool.attach(readOnly, refs...)
	if err != nil {
		return err
	}
	defer detach()
	f, err := t.pool.disks.open(e.disk.str("uuid"))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if e.format == "raw" {
		return t.streamRaw(ctx, f, e.disk.int("virtual_size"))
	}
	blocks, parent, err := t.exportBlocks(ctx, e, f)
	if err != nil {
		return err
	}
	return t.streamVHD(ctx, f, e.disk.int("virtual_size"), blocks, parent)
}

// exportBlocks decides which blocks the stream holds.
func (t *transfer) exportBlocks(ctx context.Context, e *export, f *os.File) ([]uint32, *vhdParent, error) {
	size := e.disk.int("virtual_size")
	if e.base == nil {
		blocks, err := t.pool.disks.dataBlocks(ctx, f, size)
		return blocks, nil, err
	}
	base, err := t.pool.disks.open(e.base.str("uuid"))
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = base.Close() }()
	sr, err := t.pool.db.record("SR", e.base.str("SR"))
	if err != nil {
		return nil, nil, err
	}
	uuid := e.base.str("uuid")
	parent := &vhdParent{path: "/var/run/sr-mount/" + sr.str("uuid") + "/" + uuid + ".vhd"}
	_, _ = hex.Decode(parent.uuid[:], []byte(strings.ReplaceAll(uuid, "-", ""))) // our own uuids are well formed
	if info, err := base.Stat(); err == nil {
		parent.timestamp = uint32(info.ModTime().Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Seconds()) // until 2136
	}
	if changes, ok := t.pool.disks.tracked(e.disk.str("uuid"), uuid); ok {
		return changes.blocks(size), parent, nil
	}
	blocks, err := t.pool.disks.differingBlocks(ctx, f, base, size)
	return blocks, parent, err
}

func (t *transfer) streamVHD(ctx context.Context, f *os.File, size int64, blocks []uint32, parent *vhdParent) error {
	var uuid [16]byte
	_, _ = hex.Decode(uuid[:], []byte(strings.ReplaceAll(newUUID(), "-", ""))) // well formed
	footer := vhdFooter(size, parent != nil, uuid)
	head := append(append([]byte{}, footer...), vhdHeader(size, parent)...)
	head = append(head, make([]byte, batOffset-len(head))...)
	head = append(head, vhdTable(size, blocks)...)
	if err := t.send(ctx, head); err != nil {
		return err
	}
	buf := t.pool.disks.buffer()
	defer t.pool.disks.give(buf)
	for i := range sectorSize { // the bitmap: all sectors present
		buf[i] = 0xff
	}
	for i, index := range blocks {
		off := int64(index) * blockSize
		data := buf[sectorSize:]
		n := min(blockSize, size-off)
		if err := t.send(ctx, buf[:sectorSize]); err != nil {
			return err
		}
		if err := t.sendFile(ctx, f, off, n, data); err != nil {
			return err
		}
		if n < blockSize {
			clear(data[n:])
			if err := t.send(ctx, data[n:]); err != nil {
				return err
			}
		}
		t.progress(i+1, len(blocks))
	}
	return t.send(ctx, footer)
}

func (t *transfer) streamRaw(ctx context.Context, f *os.File, size int64) error {
	buf := t.pool.disks.buffer()
	defer t.pool.disks.give(buf)
	for off := int64(0); off < size; off += blockSize {
		if err := t.sendFile(ctx, f, off, min(blockSize, size-off), buf[:]); err != nil {
			return err
		}
		t.progress(int(off/blockSize)+1, blockCount(size))
	}
	return nil
}

// progress shows how far the transfer is, in whole percents.
func (t *transfer) progress(done, total int) {
	if percent := done * 100 / total; percent != (done-1)*100/total {
		t.pool.setProgress(t.task, float64(percent)/100)
	}
}

// send writes the next part of the body, as far as the fault lets it.
func (t *transfer) send(ctx context.Context, b []byte) error {
	if err := t.pace(ctx); err != nil {
		return err
	}
	if err := t.idle(ctx); err != nil {
		return err
	}
	allowed := t.allowance(int64(len(b)))
	n, err := t.x.conn.Write(b[:allowed])
	t.moved += int64(n)
	if err != nil {
		return err
	}
	if allowed < int64(len(b)) {
		return t.breakNow(ctx)
	}
	return nil
}
