package nfs

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
)

// script is a server that answers as it is told. Each connection is served call
// by call; an answer may be delayed, left out, or replace the connection's bytes.
type script struct {
	mu      sync.Mutex
	answers map[[2]uint32]answerFunc
	calls   map[[2]uint32]int
	dials   int
	refuse  error // what dialling fails with
	conns   []net.Conn
	served  sync.WaitGroup
}

// answerFunc answers one call: it appends the result, behind the RPC header. What
// it returns says what becomes of the answer.
type answerFunc func(args *decoder, e *encoder) fate

type fate int

const (
	send fate = iota
	silence
	hangUp
)

var errHungUp = errors.New("hung up")

const fileSize = 100_000

// newScript is an honest server with one directory, in which every name is a file
// of fileSize zeros.
func newScript() *script {
	s := &script{calls: map[[2]uint32]int{}}
	root, file := handle{n: 1, b: [maxHandle]byte{1}}, handle{n: 1, b: [maxHandle]byte{2}}
	s.answers = map[[2]uint32]answerFunc{
		{programMount, procMount}: func(_ *decoder, e *encoder) fate {
			e.uint32(0)
			e.opaque(root.bytes())
			e.uint32(1)
			e.uint32(authSys)
			return send
		},
		{programNFS, procNull}: func(*decoder, *encoder) fate { return send },
		{programNFS, procFSInfo}: func(_ *decoder, e *encoder) fate {
			e.uint32(0)
			e.bool(false)
			for range 3 {
				e.uint32(1 << 30) // a server may say so
			}
			for range 3 {
				e.uint32(1 << 30)
			}
			e.b = append(e.b, make([]byte, 24)...)
			return send
		},
		{programNFS, procPathConf}: ok(func(e *encoder) { e.bool(false); e.b = append(e.b, make([]byte, 24)...) }),
		{programNFS, procGetAttr}:  ok(func(e *encoder) { e.testAttr(typeRegular, fileSize) }),
		{programNFS, procLookup}: ok(func(e *encoder) {
			e.opaque(file.bytes())
			e.bool(true)
			e.testAttr(typeRegular, fileSize)
			e.bool(false)
		}),
		{programNFS, procRead}: func(args *decoder, e *encoder) fate {
			args.handle()
			off, n := args.uint64(), args.uint32()
			n = uint32(min(int64(n), max(0, fileSize-int64(off))))
			e.uint32(0)
			e.bool(false)
			e.uint32(n)
			e.bool(int64(off)+int64(n) >= fileSize)
			e.opaque(make([]byte, n))
			return send
		},
		{programNFS, procWrite}: func(args *decoder, e *encoder) fate {
			args.handle()
			args.uint64()
			e.uint32(0)
			e.testWcc()
			e.uint32(args.uint32())
			e.uint32(uint32(unstable))
			e.fixed(make([]byte, 8))
			return send
		},
		{programNFS, procCommit}:  ok(func(e *encoder) { e.testWcc(); e.fixed(make([]byte, 8)) }),
		{programNFS, procSetAttr}: ok(func(e *encoder) { e.testWcc() }),
		{programNFS, procRemove}:  ok(func(e *encoder) { e.testWcc() }),
		{programNFS, procCreate}: ok(func(e *encoder) {
			e.bool(true)
			e.opaque(file.bytes())
			e.bool(true)
			e.testAttr(typeRegular, 0)
			e.testWcc()
		}),
	}
	return s
}

// ok is an answer with NFS3_OK.
func ok(result func(e *encoder)) answerFunc {
	return func(_ *decoder, e *encoder) fate {
		e.uint32(0)
		result(e)
		return send
	}
}

// failing is an answer with a status.
func failing(st status) answerFunc {
	return func(_ *decoder, e *encoder) fate {
		e.uint32(uint32(st))
		e.b = append(e.b, make([]byte, 8)...) // no attributes
		return send
	}
}

func (e *encoder) testAttr(kind fileType, size uint64) {
	e.uint32(uint32(kind))
	for range 4 {
		e.uint32(0o644)
	}
	e.uint64(size)
	for range 3 {
		e.uint64(0)
	}
	e.uint64(42)
	for range 6 {
		e.uint32(7)
	}
}

func (e *encoder) testWcc() { e.bool(false); e.bool(false) }

// set changes what is answered to a procedure of NFS, and to MOUNT's only one.
func (s *script) set(procedure uint32, f answerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[[2]uint32{programNFS, procedure}] = f
}

func (s *script) count(procedure uint32) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[[2]uint32{programNFS, procedure}]
}

func (s *script) dial(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	if s.refuse != nil {
		return nil, s.refuse
	}
	client, server := net.Pipe()
	s.conns = append(s.conns, server)
	s.served.Go(func() {
		defer server.Close()
		r := newRecords(server)
		for s.serve(server, r) == nil {
		}
	})
	return client, nil
}

// hangUpAll ends all connections, and makes dialling fail with err.
func (s *script) hangUpAll(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = err
	for _, nc := range s.conns {
		_ = nc.Close()
	}
	s.conns = nil
}

func (s *script) serve(nc net.Conn, r *records) error {
	if err := r.next(); err != nil {
		return err
	}
	message, err := r.rest(nil, 2*maxIO)
	if err != nil {
		return err
	}
	d := &decoder{b: message}
	xid := d.uint32()
	d.take(8)
	key := [2]uint32{d.uint32(), 0}
	d.uint32()
	key[1] = d.uint32()
	for range 2 {
		d.uint32()
		d.opaque(maxAuth)
	}
	s.mu.Lock()
	s.calls[key]++
	f := s.answers[key]
	s.mu.Unlock()
	e := &encoder{b: make([]byte, 4)}
	for _, v := range []uint32{xid, 1, 0, 0, 0, 0} {
		e.uint32(v)
	}
	if f == nil {
		return errHungUp
	}
	switch f(d, e) {
	case silence:
		return nil
	case hangUp:
		return errHungUp
	}
	k := call{e: *e}
	_, err = k.message().WriteTo(nc)
	return err
}

// openScript opens a Filesystem on the script.
func openScript(t *testing.T, s *script, timeout time.Duration) *FS {
	t.Helper()
	f, err := tryOpenScript(t, s, timeout)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, f.Close())
		s.hangUpAll(nil)
		s.served.Wait()
	})
	return f
}

func tryOpenScript(t *testing.T, s *script, timeout time.Duration) (*FS, error) {
	t.Helper()
	return Open(t.Context(), "server", "/export", &Options{
		Options: remote.Options{Timeout: timeout, DialContext: s.dial}, Port: 1, MountPort: 2,
	})
}
