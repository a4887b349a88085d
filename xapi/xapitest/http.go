package xapitest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// Limits of the HTTP server of a real host.
const (
	maxHeader  = 1 << 10   // request line and header lines, over TCP
	maxRPCBody = 300 << 10 // body of a call
	maxConns   = 800       // at a time; more wait to be accepted

	headerPause = 10 * time.Second // between two parts of the first header block of a connection
	headerTime  = time.Minute      // for the whole of it
)

var errHeaderTooLarge = errors.New("xapitest: header block too large")

// server is the HTTP server of a host. It is not net/http's because the
// handlers need what that one rightly refuses: an answer before the body was
// read, a body that ends with the connection, a second answer after the first.
type server struct {
	listener net.Listener
	handle   func(ctx context.Context, x *exchange)
	mu       sync.Mutex
	closed   bool
	down     time.Time // until when connections are closed as they come
	conns    map[net.Conn]struct{}
	work     sync.WaitGroup
}

// start accepts connections until close.
func (s *server) start(ctx context.Context) {
	s.conns = make(map[net.Conn]struct{})
	slots := make(chan struct{}, maxConns)
	s.work.Go(func() {
		for {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			conn, err := s.listener.Accept()
			if err != nil {
				return
			}
			if !s.add(conn) {
				<-slots
				continue
			}
			s.work.Go(func() {
				s.serve(ctx, conn)
				<-slots
			})
		}
	})
}

func (s *server) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || time.Now().Before(s.down) {
		_ = conn.Close()
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

// shut takes no more connections, and cuts those that are there.
func (s *server) shut() {
	s.mu.Lock()
	s.closed = true
	_ = s.listener.Close()
	s.mu.Unlock()
	s.cut()
}

// pause closes connections as they come, for a while.
func (s *server) pause(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = time.Now().Add(d)
}

// cut closes all connections. With TLS that waits a moment for clients that do not
// listen, so it is done without the lock.
func (s *server) cut() {
	s.mu.Lock()
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// wait returns when all handlers of a server that is shut have ended.
func (s *server) wait() { s.work.Wait() }

// serve answers the requests of one connection, one after the other.
func (s *server) serve(ctx context.Context, conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	reader := bufio.NewReaderSize(conn, 64<<10)
	end := time.Now().Add(headerTime)
	wait := func() { _ = conn.SetReadDeadline(earlier(time.Now().Add(headerPause), end)) }
	for {
		req, err := readHeader(reader, wait)
		if err != nil {
			refuse(conn, err)
			return
		}
		_ = conn.SetReadDeadline(time.Time{})
		wait = func() {} // of the first request alone
		x := &exchange{conn: conn, body: reader, req: req, keep: req.ProtoAtLeast(1, 1) && !req.Close}
		s.handle(ctx, x)
		if !x.keep {
			return
		}
	}
}

// refuse answers who sends no header that can be read, or not in time.
func refuse(conn net.Conn, err error) {
	switch {
	case errors.Is(err, errHeaderTooLarge):
		(&exchange{conn: conn}).html(http.StatusRequestHeaderFieldsTooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		(&exchange{conn: conn}).html(http.StatusRequestTimeout)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// readHeader reads the header block of the next request, not its body. It calls
// wait before each line.
func readHeader(r *bufio.Reader, wait func()) (*http.Request, error) {
	var block bytes.Buffer
	for {
		wait()
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, errHeaderTooLarge
		}
		if err != nil {
			return nil, err
		}
		block.Write(line)
		if block.Len() > maxHeader {
			return nil, errHeaderTooLarge
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 && block.Len() > len(line) {
			return http.ReadRequest(bufio.NewReader(&block))
		}
	}
}

// exchange is one request and what goes back.
type exchange struct {
	conn net.Conn
	body io.Reader // what follows the header, unlimited
	req  *http.Request
	keep bool   // another request may follow on the connection
	host string // ref of the host that was asked
}

// reset makes closing the connection abort it.
func (x *exchange) reset() {
	conn := x.conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// length returns the Content-Length, or false when there is none, as in a
// chunked request.
func (x *exchange) length() (int64, bool) {
	return x.req.ContentLength, x.req.Header.Get("Content-Length") != "" && len(x.req.TransferEncoding) == 0
}

// respond writes a complete answer. The version of the reply mirrors the
// request's.
func (x *exchange) respond(status int, contentType string, body []byte, header ...string) {
	minor, connection := 1, "keep-alive"
	if x.req != nil && !x.req.ProtoAtLeast(1, 1) {
		minor = 0
	}
	if !x.keep {
		connection = "close"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.%d %d %s\r\nconnection: %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n",
		minor, status, http.StatusText(status), connection, contentType, len(body))
	for _, line := range header {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	b.Write(body)
	if _, err := x.conn.Write(b.Bytes()); err != nil {
		x.keep = false
	}
}

// html answers with an error page, and closes the connection.
func (x *exchange) html(status int, header ...string) {
	x.keep = false
	page := fmt.Sprintf("<html><body><h1>HTTP %d %s</h1></body></html>", status, http.StatusText(status))
	x.respond(status, "text/html", []byte(page), append(header, "cache-control: no-cache, no-store")...)
}

// begin writes the header of an answer whose body ends with the connection.
func (x *exchange) begin(header ...string) error {
	x.keep = false
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\nconnection: close\r\ncache-control: no-cache, no-store\r\n")
	for _, line := range header {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	_, err := x.conn.Write(b.Bytes())
	return err
}
