package xapitest

import (
	"context"
	"net"
	"sync"
)

// MemoryListener is a network of its own, in memory: for Options.Listener where
// real sockets cannot be used, as in a bubble of testing/synctest. Clients
// connect with DialContext.
type MemoryListener struct {
	name   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu    sync.Mutex
	hosts map[string]*MemoryListener // of the other hosts of the pool, by address
}

// NewMemoryListener returns a listener that waits for DialContext.
func NewMemoryListener() *MemoryListener { return newMemoryListener("pool.invalid") }

func newMemoryListener(name string) *MemoryListener {
	return &MemoryListener{
		name: name, conns: make(chan net.Conn), closed: make(chan struct{}), hosts: make(map[string]*MemoryListener),
	}
}

// at returns the listener of another host on the same network.
func (l *MemoryListener) at(address string) *MemoryListener {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts[address] = newMemoryListener(address)
	return l.hosts[address]
}

// reached returns the listener at an address, which is l unless another host has
// it.
func (l *MemoryListener) reached(address string) *MemoryListener {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, ok := l.hosts[address]; ok {
		return other
	}
	return l
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

// Addr returns a name that resolves nowhere, or the address of the host.
func (l *MemoryListener) Addr() net.Addr { return memoryAddr(l.name) }

// DialContext connects to the host of the pool that has the address, which is
// the first host for all addresses that none has. It fits http.Transport.
func (l *MemoryListener) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	l = l.reached(address)
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

type memoryAddr string

// Network and String name the listener in errors and in Pool.URL.
func (memoryAddr) Network() string  { return "memory" }
func (a memoryAddr) String() string { return string(a) }
