package xapitest

import (
	"context"
	"io"
	"net"
	"os"
)

// sendFile writes n bytes at off of a file as the next part of the body, with
// zeros where the file is shorter. They do not pass through this process where
// the system can do without (sendfile), which is not under TLS.
func (t *transfer) sendFile(ctx context.Context, f *os.File, off, n int64, buf []byte) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	direct, plain := t.x.conn.(*net.TCPConn)
	if !plain || off+n > info.Size() {
		if err := readFull(f, buf[:n], off); err != nil {
			return err
		}
		return t.send(ctx, buf[:n])
	}
	if err := t.pace(ctx); err != nil {
		return err
	}
	allowed := t.allowance(n)
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return err
	}
	moved, err := io.CopyN(direct, f, allowed)
	t.moved += moved
	if err != nil {
		return err
	}
	if allowed < n {
		return t.breakNow(ctx)
	}
	return nil
}
