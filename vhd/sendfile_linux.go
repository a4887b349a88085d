package vhd

import (
	"errors"
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// sendChunk is what the kernel sends before it is asked again.
const sendChunk = 4 << 20

// fileSender sends parts of a file to a socket without the data passing through
// the process. It uses no file offset, so that a file may have several.
type fileSender struct {
	conn, file syscall.RawConn
	refused    bool // it does not work for these two
}

// newFileSender returns nil unless w is a socket and r a file of the operating system.
func newFileSender(w io.Writer, r io.ReaderAt) *fileSender {
	switch w.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nil
	}
	conn, file := rawConn(w), rawConn(r)
	if conn == nil || file == nil {
		return nil
	}
	return &fileSender{conn: conn, file: file}
}

// send sends up to n bytes and returns how many. Fewer without an error: the
// kernel does not do it, or the file has ended.
func (s *fileSender) send(off, n int64) (sent int64, err error) {
	if s.refused {
		return 0, nil
	}
	var sendErr, fileErr error
	connErr := s.conn.Write(func(fd uintptr) (done bool) {
		fileErr = s.file.Control(func(file uintptr) {
			for sent < n && sendErr == nil {
				at := off + sent
				var k int
				k, sendErr = unix.Sendfile(int(fd), int(file), &at, int(min(n-sent, sendChunk)))
				switch {
				case errors.Is(sendErr, unix.EINTR):
					sendErr = nil
				case sendErr == nil && k == 0:
					sendErr = io.EOF
				case k > 0:
					sent += int64(k)
				}
			}
		})
		if errors.Is(sendErr, unix.EAGAIN) {
			sendErr = nil
			return false
		}
		return true
	})
	switch {
	case errors.Is(sendErr, io.EOF):
		sendErr = nil
	case sent == 0 && sendErr != nil && refused(sendErr):
		s.refused, sendErr = true, nil
	}
	return sent, errors.Join(connErr, fileErr, sendErr)
}
