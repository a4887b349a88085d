package nfs_test

import (
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// relay stands between a client and a server on loopback.
type relay struct {
	port   int
	target int
	delay  time.Duration // added to every request

	mu    sync.Mutex
	cut   func(procedure uint32) loss // asked for every call; nil loses nothing
	conns []net.Conn
	most  int           // bytes of a connection that pass to the server before free; 0 for all
	free  chan struct{} // closed to let all pass
	held  bool          // something waits for that
}

// loss says where the connection breaks around one call.
type loss int

const (
	keep       loss = iota
	loseCall        // the server never sees it
	loseAnswer      // the server has carried it out
)

func newRelay(tb testing.TB, target int, delay time.Duration) *relay {
	tb.Helper()
	listener := listen(tb)
	r := &relay{port: listener.Addr().(*net.TCPAddr).Port, target: target, delay: delay}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(target)))
			if err != nil {
				_ = client.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, client, server)
			most, free := r.most, r.free
			r.mu.Unlock()
			wg.Go(func() { r.serve(client, server, most, free) })
		}
	})
	tb.Cleanup(func() {
		_ = listener.Close()
		r.breakAll()
		wg.Wait()
	})
	return r
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	return listener
}

// breakAll breaks the connections there are.
func (r *relay) breakAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, nc := range r.conns {
		_ = nc.Close()
	}
	r.conns = nil
}

// hold lets no more than so many bytes of each connection pass to the server, until
// the result is called.
func (r *relay) hold(most int) (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	free := make(chan struct{})
	r.most, r.free = most, free
	return sync.OnceFunc(func() { close(free) })
}

func (r *relay) waits() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = true
}

func (r *relay) holds() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

func (r *relay) lose(cut func(procedure uint32) loss) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
}

func (r *relay) loses(call []byte) loss {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut == nil || binary.BigEndian.Uint32(call[16:]) != 100003 {
		return keep
	}
	return r.cut(binary.BigEndian.Uint32(call[24:]))
}

func (r *relay) serve(client, server net.Conn, most int, free chan struct{}) {
	var doomed sync.Map // xids whose answers are lost
	var wg sync.WaitGroup
	both := func() { _, _ = client.Close(), server.Close() }
	type late struct {
		record []byte
		due    time.Time
	}
	queue := make(chan late, 1024)
	wg.Go(func() {
		defer both()
		for call := range queue {
			<-time.After(time.Until(call.due))
			if _, err := server.Write(call.record); err != nil {
				return
			}
		}
	})
	wg.Go(func() {
		defer both()
		if r.delay > 0 {
			_, _ = io.Copy(client, server)
			return
		}
		for {
			answer, err := readRecord(server)
			if err != nil {
				return
			}
			if _, lost := doomed.Load(binary.BigEndian.Uint32(answer[4:])); lost {
				return
			}
			if _, err := client.Write(answer); err != nil {
				return
			}
		}
	})
	for passed := 0; ; {
		if most > 0 && passed > most {
			r.waits()
			<-free
		}
		call, err := readRecord(client)
		if err != nil {
			break
		}
		passed += len(call)
		switch r.loses(call) {
		case loseCall:
			both()
		case loseAnswer:
			doomed.Store(binary.BigEndian.Uint32(call[4:]), true)
		}
		queue <- late{call, time.Now().Add(r.delay)}
	}
	close(queue)
	both()
	for range queue {
	}
	wg.Wait()
}

// readRecord reads a message of one fragment with its mark.
func readRecord(r io.Reader) ([]byte, error) {
	var mark [4]byte
	if _, err := io.ReadFull(r, mark[:]); err != nil {
		return nil, err
	}
	record := make([]byte, 4+binary.BigEndian.Uint32(mark[:])&^(1<<31))
	copy(record, mark[:])
	_, err := io.ReadFull(r, record[4:])
	return record, err
}
