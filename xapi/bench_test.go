package xapi_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"testing"

	"github.com/xenbackup/xenbackup/xapi"
)

const benchSize = 256 << 20

// benchServer sends and swallows disks. The VDI of an export says how many MiB it has, benchSize if nothing.
func benchServer(b *testing.B) *xapi.Client {
	b.Helper()
	s := &server{
		mux: http.NewServeMux(), changed: make(chan struct{}), sessions: map[string]bool{}, tasks: map[string]*xapi.Task{},
		handlers: map[string]func([]any) (any, []string){"VM.get_name_label": func([]any) (any, []string) { return "web", nil }},
	}
	s.Server = httptest.NewServer(s.mux)
	b.Cleanup(s.Close)
	s.mux.HandleFunc("POST /jsonrpc", s.rpc)
	s.raw("GET /export_raw_vdi", func(conn *net.TCPConn, _ *bufio.Reader, r *http.Request) {
		accept(conn)
		chunk := make([]byte, 1<<20)
		mib := benchSize / len(chunk)
		if n, err := strconv.Atoi(r.URL.Query().Get("vdi")); err == nil {
			mib = n
		}
		for range mib {
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

// BenchmarkCall makes one small call after the other.
func BenchmarkCall(b *testing.B) {
	c := benchServer(b)
	b.ReportAllocs()
	var name string
	for b.Loop() {
		if err := c.Call(b.Context(), "VM.get_name_label", &name, "OpaqueRef:vm"); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// BenchmarkCallsAtOnce makes many of them over the connections of one client.
func BenchmarkCallsAtOnce(b *testing.B) {
	c := benchServer(b)
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		var name string
		for pb.Next() {
			if err := c.Call(b.Context(), "VM.get_name_label", &name, "OpaqueRef:vm"); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// BenchmarkAllocationsPerGiB exports and imports 1 GiB after 64 MiB: what is allocated in between is what grows with the size.
func BenchmarkAllocationsPerGiB(b *testing.B) {
	const small, large = 64 << 20, 1 << 30
	c := benchServer(b)
	buffer := make([]byte, 1<<20)
	for name, transfer := range map[string]func(size int64) error{
		"export": func(size int64) error {
			d, err := c.ExportVDI(b.Context(), xapi.Ref[xapi.VDI](strconv.FormatInt(size>>20, 10)), nil)
			if err != nil {
				return err
			}
			if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, d, buffer); err != nil {
				return err
			}
			return d.Finish(b.Context())
		},
		"import": func(size int64) error { return c.ImportVDI(b.Context(), "OpaqueRef:vdi", size, zeros{}, nil) },
	} {
		b.Run(name, func(b *testing.B) {
			allocated := func(size int64) (objects, bytes int64) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				if err := transfer(size); err != nil {
					b.Fatal(err)
				}
				runtime.ReadMemStats(&after)
				return int64(after.Mallocs - before.Mallocs), int64(after.TotalAlloc - before.TotalAlloc) //nolint:gosec // far from overflow
			}
			var objects, bytes int64
			for b.Loop() {
				few, little := allocated(small)
				many, much := allocated(large)
				objects, bytes = objects+many-few, bytes+much-little
			}
			b.ReportMetric(float64(objects)/float64(b.N), "more-allocs/GiB")
			b.ReportMetric(float64(bytes)/float64(b.N)/1024, "more-KiB/GiB")
		})
	}
}
