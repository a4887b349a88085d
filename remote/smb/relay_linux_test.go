package smb

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// relay passes connections on to a server, each byte after half of a round trip.
type relay struct {
	net.Listener
	trip time.Duration

	mu    sync.Mutex
	most  int           // bytes of a connection that pass to the server before free; 0 for all
	free  chan struct{} // closed to let all pass
	held  bool          // something waits for that
	conns []net.Conn
	all   sync.WaitGroup
}

func startRelay(tb testing.TB, server string, trip time.Duration) *relay {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	r := &relay{Listener: l, trip: trip}
	r.all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(tb.Context(), "tcp", server)
			if err != nil {
				_ = in.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			most, free := r.most, r.free
			r.mu.Unlock()
			r.all.Go(func() { r.pass(in, out, most, free) })
			r.all.Go(func() { r.pass(out, in, 0, nil) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		r.cut()
		r.all.Wait()
	})
	return r
}

// cut breaks every connection there is.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
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

func (r *relay) port() int { return r.Addr().(*net.TCPAddr).Port }

func (r *relay) pass(from, to net.Conn, most int, free chan struct{}) {
	type parcel struct {
		data []byte
		due  time.Time
	}
	queue := make(chan parcel, 4096)
	r.all.Go(func() {
		defer to.Close()
		for p := range queue {
			if wait := time.Until(p.due); wait > 0 {
				<-time.After(wait)
			}
			if _, err := to.Write(p.data); err != nil {
				_, _ = io.Copy(io.Discard, from)
			}
		}
	})
	defer close(queue)
	for passed := 0; ; {
		if most > 0 && passed > most {
			r.waits()
			<-free
		}
		buf := make([]byte, 256<<10)
		n, err := from.Read(buf)
		if passed += n; n > 0 {
			queue <- parcel{buf[:n], time.Now().Add(r.trip / 2)}
		}
		if err != nil {
			return
		}
	}
}
