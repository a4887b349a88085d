package xapi

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// upload hands the source of an import to net/http, length bytes and no more. Nothing flows before the host has accepted the request,
// so that a redirect finds the source untouched. While the source is being read the watchdog rests: only the pool's pace is watched.
type upload struct {
	src    io.Reader
	length int64 // when unframed, known once src has ended
	dog    *watchdog
	limit  time.Duration // between two reads
	last   time.Duration // after the last byte

	unframed bool // the length was not known: an archive, not compressed
	partial  bool // the pool may stop reading when it has all it needs
	tail     tarTail

	opened chan struct{}
	open   sync.Once

	began   atomic.Bool // src was, or is about to be, read
	mu      sync.Mutex  // held while src is read
	sent    int64
	err     error // of src
	stopped bool
}

// bodyGrace is how long an upload waits for the host's status before it flows anyway: hosts answer before they read.
const bodyGrace = 2 * time.Second

func newUpload(src io.Reader, length int64) *upload {
	return &upload{src: src, length: length, unframed: length < 0, opened: make(chan struct{})}
}

// flow lets the body of the request pass.
func (u *upload) flow() { u.open.Do(func() { close(u.opened) }) }

// body makes the body of one request.
func (u *upload) body() io.ReadCloser {
	return &uploadBody{upload: u, closed: make(chan struct{})}
}

// touched reports whether the source was read, or is being read. It does not wait.
func (u *upload) touched() bool { return u.began.Load() }

func (u *upload) read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.stopped:
		return 0, ErrClosed
	case u.err != nil:
		return 0, u.err
	case u.sent == u.length && (!u.unframed || u.tail.ended):
		return 0, io.EOF
	}
	u.dog.rest()
	if !u.unframed {
		p = p[:min(int64(len(p)), u.length-u.sent)]
	}
	n, err := u.src.Read(p)
	if u.unframed {
		err = u.tail.check(p[:n], err)
		if err == io.EOF { //nolint:errorlint // a reader's end is io.EOF itself
			u.length = u.sent + int64(n)
		}
	}
	u.sent += int64(n)
	if u.sent == u.length {
		u.dog.moved(u.last)
		return n, io.EOF
	}
	u.dog.moved(u.limit)
	if err == io.EOF { //nolint:errorlint // a reader's end is io.EOF itself
		err = fmt.Errorf("source ended after %d of %d bytes: %w", u.sent, u.length, io.ErrUnexpectedEOF)
	}
	u.err = err
	return n, err
}

// stop keeps the source from being read again, and waits for a Read under way, but not longer than patience. It returns how much was
// handed over and how the source failed.
func (u *upload) stop(patience time.Duration) (int64, error) {
	type state struct {
		sent int64
		err  error
	}
	stopped := make(chan state, 1)
	go func() { // ends with the source's Read
		u.mu.Lock()
		defer u.mu.Unlock()
		u.stopped = true
		stopped <- state{u.sent, u.err}
	}()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case s := <-stopped:
		return s.sent, s.err
	case <-timer.C:
		return 0, nil
	}
}

// uploadBody is the body of one request of an upload. Only one that is not closed may touch the source: net/http goes on reading the body of a
// request that was answered by a redirect, when the next one has the source already.
type uploadBody struct {
	upload *upload
	closed chan struct{}

	mu   sync.Mutex
	over bool // closed is
}

// Read implements io.Reader.
func (b *uploadBody) Read(p []byte) (int, error) {
	select {
	case <-b.upload.opened:
	default:
		b.wait()
	}
	if !b.begin() {
		return 0, ErrClosed
	}
	return b.upload.read(p)
}

// wait returns when the body may flow, or is closed.
func (b *uploadBody) wait() {
	timer := time.NewTimer(min(bodyGrace, b.upload.limit))
	defer timer.Stop()
	select {
	case <-b.closed:
	case <-b.upload.opened:
	case <-timer.C:
		b.mu.Lock()
		defer b.mu.Unlock()
		if !b.over {
			b.upload.flow()
		}
	}
}

// begin marks the source as touched, unless the body was closed: once Close has returned, this body leaves it alone.
func (b *uploadBody) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.upload.began.Store(true)
	}
	return !b.over
}

// Close implements io.Closer. It does not wait for a Read under way.
func (b *uploadBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.over = true
		close(b.closed)
	}
	return nil
}
