package xapi_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/xenbackup/xenbackup/xapi"
)

const benchSize = 256 << 20

// benchServer sends and swallows benchSize bytes per transfer.
func benchServer(b *testing.B) *xapi.Client {
	b.Helper()
	s := &server{mux: http.NewServeMux(), changed: make(chan struct{}), sessions: map[string]bool{}, tasks: map[string]*xapi.Task{}}
	s.Server = httptest.NewServer(s.mux)
	b.Cleanup(s.Close)
	s.mux.HandleFunc("POST /jsonrpc", s.rpc)
	s.raw("GET /export_raw_vdi", func(conn *net.TCPConn, _ *bufio.Reader, r *http.Request) {
		accept(conn)
		chunk := make([]byte, 1<<20)
		for range benchSize / len(chunk) {
			_, _ = conn.Write(chunk)
		}
		s.settle(task(r), "success", "")
	})
	s.raw("PUT /import_raw_vdi", func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		accept(conn)
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(in, r.ContentLength), make([]byte, 1<<20))
		s.settle(task(r), "success", "")
	})
	c, err := xapi.Dial(b.Context(), s.URL, &xapi.Options{Password: password})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c
}

func BenchmarkExportVDI(b *testing.B) {
	c := benchServer(b)
	buffer := make([]byte, 1<<20)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		d, err := c.ExportVDI(b.Context(), "OpaqueRef:vdi", nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, d, buffer); err != nil {
			b.Fatal(err)
		}
		if err := d.Finish(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkImportVDI(b *testing.B) {
	c := benchServer(b)
	b.SetBytes(benchSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.ImportVDI(b.Context(), "OpaqueRef:vdi", benchSize, zeros{}, nil); err != nil {
			b.Fatal(err)
		}
	}
}
