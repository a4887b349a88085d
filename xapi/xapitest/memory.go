package xapitest

import (
	"context"
	"net"
	"sync"
)

// MemoryListener is a network of its own, in memory: for Options.Listener where
// real sockets cannot be used, as in a bubble of testing/synctest. Clients
// connect with DialContext, whatever address they ask for.
type MemoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewMemoryListener returns a listener that waits for DialContext.
func NewMemoryListener() *MemoryListener {
	return &MemoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept waits for the next DialContext. After Close it is net.ErrClosed.
func (l *MemoryListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close refuses connections from now on. Those that exist live on.
func (l *MemoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns a name that resolves nowhere.
func (l *MemoryListener) Addr() net.Addr { return memoryAddr{} }

// DialContext connects to the listener. It fits http.Transport.
func (l *MemoryListener) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "memory", Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

type memoryAddr struct{}

// Network and String name the listener in errors and in Pool.URL.
func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "pool.invalid" }
