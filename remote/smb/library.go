package smb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/hirochachacha/go-smb2"
)

// This file alone names github.com/hirochachacha/go-smb2. What is to be known of
// version 1.1.0, and where this package sees to it:
//
//   - A context that ends while a request is being sent leaves the sender one
//     answer behind; after three of them it deadlocks. One that ends while an
//     answer is awaited gives credits back that the server still counts. So no
//     caller's context gets there: see [call].
//   - A File must not be closed while requests on it are under way: see handle.
//   - ReadAt returns n < len(p) without an error: see File.ReadAt.
//   - Read buffers are written after the answer has come, so an abandoned
//     request must not have the caller's: see File.ReadAt.
//   - A finalizer closes a forgotten File over the network, from the goroutine
//     of all finalizers; openFile takes it off.
//   - Requests whose answers may be long are charged fewer credits than they need
//     when few are left; the server then answers INVALID_PARAMETER. See
//     session.roomy.
//   - Share.Glob takes I/O errors for absence. It is not used.
//   - Told to require signatures it refuses interim answers, which have none: wire
//     requires them.
//   - It panics on some answers: see wire, and [call].
type (
	library struct{ *smb2.Share }
	libFile = smb2.File
)

// credentials of NTLMv2.
type credentials struct{ domain, user, password string }

// login negotiates, logs in and connects to a share. The connection is the
// caller's to close after an error. The calls of the library end with ctx.
func login(ctx, life context.Context, conn net.Conn, c credentials, host, share string) (library, error) {
	d := &smb2.Dialer{
		MaxCreditBalance: maxCredits,
		Initiator:        &smb2.NTLMInitiator{User: c.user, Password: c.password, Domain: c.domain},
	}
	s, err := d.DialContext(ctx, conn)
	if err != nil {
		return library{}, loginError(err)
	}
	mounted, err := s.WithContext(ctx).Mount(`\\` + host + `\` + share)
	if err != nil {
		return library{}, mountError(err)
	}
	return library{mounted.WithContext(life)}, nil
}

// openFile opens a file that exists, or with os.O_EXCL one that does not.
func (l library) openFile(path string, flag int) (*libFile, error) {
	f, err := l.OpenFile(path, flag, 0o666)
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(f, nil)
	return f, nil
}

// identify is what is known of an open file or directory.
func identify(f *libFile) (info, error) {
	stat, err := f.Stat()
	if err != nil {
		return info{}, err
	}
	return infoOf(stat), nil
}

func (l library) stat(path string) (info, error) {
	stat, err := l.Stat(path)
	if err != nil {
		return info{}, err
	}
	return infoOf(stat), nil
}

func (l library) list(path string) ([]info, error) {
	stats, err := l.ReadDir(path)
	if err != nil {
		return nil, err
	}
	infos := make([]info, len(stats))
	for i, stat := range stats {
		infos[i] = infoOf(stat)
	}
	return infos, nil
}

// space in bytes. The library's names mislead: the unit of its counts is
// sectors per unit (FragmentSize) times bytes per sector (BlockSize).
func (l library) space(path string) (total, free uint64, err error) {
	s, err := l.Statfs(path)
	if err != nil {
		return 0, 0, err
	}
	unit := s.FragmentSize() * s.BlockSize()
	return s.TotalBlockCount() * unit, s.AvailableBlockCount() * unit, nil
}

// readFull reads until p is full; io.EOF is the only way to less without failing.
func readFull(f *libFile, p []byte, off int64) (int, error) {
	read := 0
	for read < len(p) {
		n, err := f.ReadAt(p[read:], off+int64(read))
		if err != nil {
			return read, err
		}
		if n <= 0 {
			return read, io.ErrNoProgress
		}
		read += n
	}
	return read, nil
}

func infoOf(stat os.FileInfo) info {
	i := info{name: stat.Name(), size: stat.Size(), modified: stat.ModTime()}
	if s, ok := stat.Sys().(*smb2.FileStat); ok {
		i.created = s.CreationTime
		i.dir = s.Mode()&fs.ModeDir != 0
	}
	return i
}

// statusOf returns the NTSTATUS of an error, unless the library has given it a
// meaning of package os already.
func statusOf(err error) (status, bool) {
	if response, ok := errors.AsType[*smb2.ResponseError](err); ok {
		return status(response.Code), true
	}
	return 0, false
}

// broken returns what ended the connection, or shows that it is of no use any
// more; nil when err is an ordinary answer of the server.
func broken(err error) error {
	var transport *smb2.TransportError
	var invalid *smb2.InvalidResponseError
	var ended *smb2.ContextError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &transport):
		return transport.Err
	case errors.As(err, &invalid):
		return invalid
	case errors.As(err, &ended):
		return errors.New("the connection was given up")
	}
	if p, ok := errors.AsType[*panicError](err); ok {
		return p
	}
	if st, ok := statusOf(err); ok && st.endsSession() {
		return err
	}
	return nil
}

// panicError is a panic of the library over what the server has sent.
type panicError struct{ value any }

func (e *panicError) Error() string {
	return fmt.Sprintf("an answer of the server that the client library cannot read: %v", e.value)
}

// touch sets the times of a file or directory.
func (l library) touch(path string, mtime time.Time) error { return l.Chtimes(path, mtime, mtime) }
