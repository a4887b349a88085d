package nbd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/vhd/disk"
)

// Server serves disks, read-only. Its fields must not change while it serves.
type Server struct {
	// Open finds a disk by its export name. If the disk has a Close method, that
	// is called when the client is done with it. The client learns of an error
	// only that there is no such export. Open is required.
	Open func(ctx context.Context, name string) (disk.Source, error)

	// List returns the names to show to who asks. nil refuses to tell.
	List func(ctx context.Context) []string

	// TLS makes the server require TLS, by STARTTLS. nil refuses it.
	TLS *tls.Config

	// MaxInFlight is how many reads of one connection are done at a time; 0 = 8.
	// Each holds at most 2 MiB.
	MaxInFlight int

	// Legacy makes the server do no more than that of an XCP-ng host: no options
	// but STARTTLS, LIST and EXPORT_NAME, simple replies, reads in whole sectors.
	Legacy bool

	Logger *slog.Logger // nil = silent
}

// session is one connection to a server.
type session struct {
	server *Server
	log    *slog.Logger
	conn   net.Conn
	disk   disk.Source

	structured bool
	status     bool // base:allocation was chosen
	buffers    sync.Pool

	writing sync.Mutex // one answer at a time on the wire
}

// Serve serves one connection until the client leaves, ctx ends, or something
// goes wrong, and closes it. A client that leaves, politely or not, is no error.
func (s *Server) Serve(ctx context.Context, conn net.Conn) error {
	c := &session{server: s, conn: conn, log: s.Logger}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.buffers.New = func() any { return new([maxRequest]byte) }
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	defer func() { _ = c.conn.Close() }()
	err := c.run(ctx)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errAborted), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return nil
	}
	return err
}

// errAborted ends the service of a client that said goodbye.
var errAborted = errors.New("nbd: client left")

// run negotiates, then answers commands.
func (c *session) run(ctx context.Context) (err error) {
	defer func() {
		if closer, ok := c.disk.(io.Closer); ok {
			err = errors.Join(err, closer.Close())
		}
	}()
	if err := c.negotiate(ctx); err != nil {
		return err
	}
	return c.transmit(ctx)
}

// open makes name the disk of this session. It returns false when there is no
// such disk.
func (c *session) open(ctx context.Context, name string) bool {
	source, err := c.server.Open(ctx, name)
	if err != nil {
		c.log.InfoContext(ctx, "export refused", slog.Any("error", err))
		return false
	}
	c.disk = source
	return true
}

// release gives back a disk that was only asked about.
func (c *session) release() error {
	source := c.disk
	c.disk = nil
	if closer, ok := source.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// ServeListener accepts connections and serves each until ctx ends, then closes
// the listener and waits for all of them. It returns nil after the end of ctx.
func (s *Server) ServeListener(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("nbd: %w", err)
		}
		sessions.Go(func() {
			if err := s.Serve(ctx, conn); err != nil && s.Logger != nil {
				s.Logger.InfoContext(ctx, "connection ended", slog.Any("error", err))
			}
		})
	}
}
