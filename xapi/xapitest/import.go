package xapitest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// errShortBody is a body that ended before its Content-Length.
var errShortBody = errors.New("xapitest: short body")

// putImport serves PUT /import_raw_vdi.
func (p *Pool) putImport(ctx context.Context, x *exchange) {
	t := p.openTransfer(ctx, x, importRequest)
	if t == nil {
		return
	}
	t.run(ctx, t.importDisk)
}

// importDisk answers 200 before it reads the body: only the task tells how it
// went. Its result is the reference of the disk.
func (t *transfer) importDisk(ctx context.Context) (string, error) {
	query := t.x.req.URL.Query()
	format := strings.ToLower(query.Get("format"))
	length, ok := t.x.length()
	if len(t.x.req.TransferEncoding) > 0 {
		return t.refuse(http.StatusNotFound, fail("INTERNAL_ERROR", "Cannot handle encoding"))
	}
	if format != "" && format != "raw" && format != "vhd" || query.Has("chunked") && format == "vhd" {
		return t.refuse(http.StatusNotFound, fail("INTERNAL_ERROR", "Unknown format "+format))
	}
	ref, disk, err := t.importTarget(query.Get("vdi"), query.Get("sr_id")+query.Get("sr_uuid"), format, length)
	if err != nil {
		return t.refuse(http.StatusInternalServerError, err)
	}
	if !ok { // as much as the disk holds, which is wrong for a VHD
		length = disk.int("virtual_size")
	}
	if err := t.x.begin("task-id: " + t.task); err != nil {
		return "", fail("VDI_IO_ERROR", "Device I/O errors")
	}
	err = t.receive(ctx, ref, disk, format, length)
	if err != nil && ctx.Err() == nil && !errors.Is(err, errBroken) {
		t.x.html(http.StatusInternalServerError)
	}
	if err != nil {
		return "", transferFailure(ctx, err)
	}
	return xmlText(ref)
}

// importTarget finds the disk to write, or makes one of the body's size.
func (t *transfer) importTarget(vdi, sr, format string, length int64) (string, record, error) {
	if vdi == "" && sr != "" && format != "vhd" {
		srRef, _, err := t.pool.db.byRefOrUUID("SR", sr)
		if err != nil {
			return "", nil, err
		}
		if vdi, err = t.pool.createDisk(srRef, length, record{"name_label": "Imported VDI"}); err != nil {
			return "", nil, err
		}
	}
	return t.pool.db.byRefOrUUID("VDI", vdi)
}

// receive writes the body to the disk, with the disk attached to the control
// domain.
func (t *transfer) receive(ctx context.Context, ref string, disk record, format string, length int64) error {
	if t.fault != nil && t.fault.err != nil {
		return t.fault.err
	}
	if sr, err := t.pool.db.record("SR", disk.str("SR")); err == nil && format == "vhd" && !prezeroed(sr.str("type")) {
		return fail("VDI_IO_ERROR", "a VHD needs storage that reads as zeros where nothing was written")
	}
	chunked := t.x.req.URL.Query().Has("chunked")
	if length == 0 { // a question for the host to send a disk to: the disk itself may be on its way by the time of the answer
		if chunked || format == "vhd" {
			return errShortBody
		}
		return nil
	}
	detach, err := t.pool.attach(readWrite, ref)
	if err != nil {
		return err
	}
	defer detach()
	f, err := t.pool.disks.writer(disk.str("uuid"))
	if err != nil {
		return err
	}
	body := &uploadReader{
		ctx: func() error { return t.pace(ctx) }, t: t, remain: length,
		breakNow: func() error { return t.breakNow(ctx) },
	}
	w := &diskWriter{file: f, size: disk.int("virtual_size"), free: t.pool.freeSpace(disk.str("SR"))}
	switch {
	case chunked:
		err = t.pool.disks.readChunks(body, w)
	case format == "vhd":
		err = t.pool.disks.readVHD(body, w, length, func(done, total int) { t.progress(done, total) })
	default:
		err = t.pool.disks.readRaw(body, w, length)
	}
	err = errors.Join(err, f.Close())
	t.pool.accountDisk(ref, disk.str("uuid"))
	return err
}

// uploadReader reads the body of an upload, and breaks it where the fault says.
type uploadReader struct {
	t        *transfer
	remain   int64
	ctx      func() error
	breakNow func() error
}

// Read reads what the client sent; the end of the body is io.EOF, a missing
// rest errShortBody.
func (u *uploadReader) Read(p []byte) (int, error) {
	if err := u.ctx(); err != nil {
		return 0, err
	}
	if u.remain == 0 {
		return 0, io.EOF
	}
	want := min(int64(len(p)), u.remain)
	allowed := u.t.allowance(want)
	if allowed == 0 && want > 0 {
		return 0, u.breakNow()
	}
	n, err := u.t.x.body.Read(p[:allowed])
	u.t.moved += int64(n)
	u.remain -= int64(n)
	if errors.Is(err, io.EOF) {
		err = errShortBody
	}
	return n, err
}

// diskWriter writes to a disk within its size and the space of its repository.
type diskWriter struct {
	file *contentWriter
	size int64
	free int64 // negative: no limit
	sent int64
}

// write stores p at off. Bytes beyond the end of the disk must be zeros, as the
// last block of a VHD has them when the size is no multiple of the block.
func (w *diskWriter) write(p []byte, off int64) error {
	if room := max(0, w.size-off); int64(len(p)) > room {
		for _, b := range p[room:] {
			if b != 0 {
				return fail("VDI_IO_ERROR", "write beyond the end of the disk")
			}
		}
		p = p[:room]
	}
	w.sent += int64(len(p))
	if w.free >= 0 && w.sent > w.free {
		return fail("VDI_IO_ERROR", "no space left on the storage repository")
	}
	_, err := w.file.WriteAt(p, off)
	return err
}

// chunkHeader is an offset of 64 bits and a length of 32, little-endian.
const chunkHeader = 12

// readChunks copies a raw body in the framing of the XenAPI: the pieces of a disk
// with where they belong, and an empty one at 0 at the end.
func (s *diskStore) readChunks(body io.Reader, w *diskWriter) error {
	buf := s.buffer()
	defer s.give(buf)
	for {
		var header [chunkHeader]byte
		if _, err := io.ReadFull(body, header[:]); err != nil {
			return fmt.Errorf("header of a chunk: %w", err)
		}
		off, left := int64(binary.LittleEndian.Uint64(header[:])), int64(binary.LittleEndian.Uint32(header[8:])) // see below
		if off < 0 {
			return fail("VDI_IO_ERROR", "a chunk before the disk")
		}
		if off == 0 && left == 0 {
			_, err := io.Copy(io.Discard, body)
			return err
		}
		for left > 0 {
			piece := buf[:min(blockSize, left)]
			if _, err := io.ReadFull(body, piece); err != nil {
				return fmt.Errorf("chunk: %w", err)
			}
			if err := w.write(piece, off); err != nil {
				return err
			}
			off += int64(len(piece))
			left -= int64(len(piece))
		}
	}
}

// readRaw copies a raw body.
func (s *diskStore) readRaw(body io.Reader, w *diskWriter, length int64) error {
	buf := s.buffer()
	defer s.give(buf)
	for off := int64(0); off < length; off += blockSize {
		chunk := buf[:min(blockSize, length-off)]
		if _, err := io.ReadFull(body, chunk); err != nil {
			return fmt.Errorf("raw image: %w", err)
		}
		if err := w.write(chunk, off); err != nil {
			return err
		}
	}
	return nil
}
