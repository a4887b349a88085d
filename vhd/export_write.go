package vhd

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// WriteTo writes what is left of the image to w, as io.Copy does with an Export.
// If w is a connection of the operating system (a *net.TCPConn or *net.UnixConn, not one
// with TLS) and the disk lies in files, the kernel sends the data from there.
func (e *Export) WriteTo(w io.Writer) (int64, error) {
	e.prepare(w)
	shared := &copyBuffers{chunk: copyChunk}
	buf := shared.get()
	var total int64
	for e.err == nil {
		if err := context.Cause(e.ctx); err != nil {
			e.err = err
			break
		}
		if len(e.pending) == 0 && e.dataLeft > 0 && e.mapping != nil {
			n, err := e.sendData(w, *buf)
			total += n
			e.fail(err)
			continue
		}
		n, err := writeWhole(w, (*buf)[:e.step(*buf)])
		total += int64(n)
		e.fail(err)
	}
	if errors.Is(e.err, io.EOF) {
		return total, nil
	}
	return total, e.err
}

// writeWhole writes all of b, which may be nothing: a pipe would wait even then.
func writeWhole(w io.Writer, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return n, err
}

// fail remembers an error. An io.EOF is one, too: only step says that the image is over.
func (e *Export) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("write image: %w", io.ErrUnexpectedEOF)
	}
	if err != nil && (e.err == nil || errors.Is(e.err, io.EOF)) {
		e.err = err
	}
}

// prepare finds out what the kernel can send to w.
func (e *Export) prepare(w io.Writer) {
	m := mapDisk(e.src)
	senders := make([]*fileSender, len(m.files))
	any := false
	for i, file := range m.files {
		senders[i] = newFileSender(w, file)
		any = any || senders[i] != nil
	}
	if any {
		e.mapping, e.senders = m, senders
	}
}

// sendData writes the data of the current block.
func (e *Export) sendData(w io.Writer, buf []byte) (int64, error) {
	var total int64
	end := e.data + e.dataLeft
	advance := func(n int64, err error) error {
		total += n
		e.data, e.dataLeft = e.data+n, e.dataLeft-n
		return err
	}
	for s, err := range e.mapping.segments(e.ctx, e.data, e.dataLeft) {
		if err != nil {
			return total, fmt.Errorf("read disk at %d: %w", e.data, err)
		}
		if err := advance(writeZeros(w, s.off-e.data)); err != nil {
			return total, err
		}
		if err := advance(e.sendSegment(w, s, buf)); err != nil {
			return total, err
		}
	}
	err := advance(writeZeros(w, end-e.data))
	return total, err
}

// sendSegment writes a piece of one file.
func (e *Export) sendSegment(w io.Writer, s segment, buf []byte) (int64, error) {
	sent := int64(0)
	if sender := e.senders[s.file]; sender != nil {
		n, err := sender.send(s.at, s.n)
		if sent = n; err != nil || n == s.n {
			return n, err
		}
	}
	for sent < s.n { // the kernel does not, or the file has ended
		part := buf[:min(int64(len(buf)), s.n-sent)]
		if err := readExact(e.mapping.files[s.file], part, s.at+sent); err != nil {
			return sent, err
		}
		n, err := writeWhole(w, part)
		if sent += int64(n); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func writeZeros(w io.Writer, n int64) (total int64, err error) {
	for total < n && err == nil {
		var part int
		part, err = writeWhole(w, zeros[:min(int64(len(zeros)), n-total)])
		total += int64(part)
	}
	return total, err
}
