package xapi_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

// raw serves one path as hosts do: it takes the connection, and what script writes is all that goes out. The connection closes after.
func (s *server) raw(pattern string, script func(conn *net.TCPConn, in *bufio.Reader, r *http.Request)) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		script(conn.(*net.TCPConn), rw.Reader, r)
	})
}

func accept(conn io.Writer) {
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-type: application/octet-stream\r\n\r\n")
}

func task(r *http.Request) string { return r.URL.Query().Get("task_id") }

func pattern(n int) []byte {
	data := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{7})
	_, _ = rng.Read(data)
	return data
}

func TestExportDeliversAndIsProvenByTheTask(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	data := pattern(1 << 20)
	s.raw("GET /export_raw_vdi", func(conn *net.TCPConn, _ *bufio.Reader, r *http.Request) {
		require.Equal(t, "OpaqueRef:vdi", r.URL.Query().Get("vdi"))
		require.Equal(t, "OpaqueRef:base", r.URL.Query().Get("base"))
		require.Equal(t, "vhd", r.URL.Query().Get("format"))
		accept(conn)
		_, _ = conn.Write(data)
		_ = conn.CloseWrite()
		s.settle(task(r), "success", "")
	})
	d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", &xapi.ExportVDIOptions{Base: "OpaqueRef:base"})
	require.NoError(t, err)
	got, err := io.ReadAll(d)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	require.NoError(t, d.Finish(t.Context()))
	require.NoError(t, d.Finish(t.Context()))
	require.NoError(t, d.Close())
	require.Zero(t, s.called("task.cancel"))
	require.Zero(t, s.leftTasks())
}

// Hosts end a failed export by closing the connection, sometimes after a page of HTML. Wherever that happens, Finish must know.
func TestExportCutAnywhereIsNeverComplete(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	data := pattern(66_000)
	cut, reset, page := 0, false, ""
	s.raw("GET /export_raw_vdi", func(conn *net.TCPConn, _ *bufio.Reader, r *http.Request) {
		accept(conn)
		_, _ = conn.Write(data[:cut])
		_, _ = io.WriteString(conn, page)
		if reset {
			_ = conn.SetLinger(0)
			_ = conn.Close()
		}
		s.settle(task(r), "failure", "", "VDI_IO_ERROR", "Device I/O errors")
	})
	try := func() {
		d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
		if err == nil {
			_, _ = io.Copy(io.Discard, d)
			err = d.Finish(t.Context())
			require.NoError(t, d.Close())
		}
		require.ErrorIs(t, err, xapi.ErrVDIIOError, "cut at %d", cut)
		requireNoSecret(t, err)
	}
	for cut = len(data) - 1024; cut <= len(data); cut += sweepStride {
		reset = cut%2 == 1
		try()
	}
	cut, reset, page = len(data), false, "HTTP/1.1 500 Internal Error\r\n\r\n<html>500</html>"
	try()
	require.Zero(t, s.leftTasks())
}

func TestExportOverABrokenConnectionIsTruncated(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) { o.CancelTimeout = 100 * time.Millisecond })
	s.raw("GET /export_raw_vdi", func(conn *net.TCPConn, _ *bufio.Reader, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
	})
	d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.NoError(t, err)
	got, err := io.ReadAll(d)
	require.Len(t, got, 10)
	require.ErrorIs(t, err, xapi.ErrTruncated)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	err = d.Finish(t.Context())
	require.ErrorIs(t, err, xapi.ErrTruncated)
	requireNoSecret(t, err)
	require.Equal(t, 1, s.called("task.cancel"))
	require.Zero(t, s.leftTasks())
}

func TestExportThatStopsMovingIsStalled(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) {
		o.StallTimeout, o.FirstByteTimeout, o.CancelTimeout = 60*time.Millisecond, time.Minute, 100*time.Millisecond
	})
	s.raw("GET /export_raw_vdi", func(conn *net.TCPConn, in *bufio.Reader, _ *http.Request) {
		accept(conn)
		_, _ = conn.Write(pattern(1000))
		_, _ = in.ReadByte() // until the client hangs up
	})
	d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.NoError(t, err)
	_, err = io.ReadAll(d)
	require.ErrorIs(t, err, xapi.ErrStalled)
	err = d.Finish(t.Context())
	require.ErrorIs(t, err, xapi.ErrStalled)
	requireNoSecret(t, err)
	require.Zero(t, s.leftTasks())
}

func TestExportMayBeSilentForLongBeforeItsFirstByte(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) { o.StallTimeout = 100 * time.Millisecond })
	s.raw("GET /export_raw_vdi", func(conn *net.TCPConn, _ *bufio.Reader, r *http.Request) {
		accept(conn)
		<-time.After(300 * time.Millisecond) // three times the stall limit
		_, _ = conn.Write([]byte("x"))
		s.settle(task(r), "success", "")
	})
	d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.NoError(t, err)
	require.NoError(t, d.Finish(t.Context()))
}

func TestClosingAnExportCancelsItsTask(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	gone := make(chan struct{})
	s.raw("GET /export_raw_vdi", func(conn *net.TCPConn, in *bufio.Reader, _ *http.Request) {
		accept(conn)
		_, _ = conn.Write(pattern(1000))
		_, _ = in.ReadByte()
		close(gone)
	})
	d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	<-gone
	_, err = d.Read(make([]byte, 1))
	require.ErrorIs(t, err, xapi.ErrClosed)
	require.ErrorIs(t, d.Finish(t.Context()), xapi.ErrClosed)
	require.Equal(t, 1, s.called("task.cancel"))
	require.Zero(t, s.leftTasks())
}

func TestExportEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	s.raw("GET /export_raw_vdi", func(conn *net.TCPConn, in *bufio.Reader, _ *http.Request) {
		accept(conn)
		_, _ = in.ReadByte()
	})
	cause := errors.New("job stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	d, err := c.ExportVDI(ctx, "OpaqueRef:vdi", nil)
	require.NoError(t, err)
	cancel(cause)
	_, err = io.ReadAll(d)
	require.ErrorIs(t, err, cause)
	require.ErrorIs(t, d.Finish(ctx), cause)
	require.Zero(t, s.leftTasks())
}

func TestExportRefusedByTheHandlerIsTheTasksError(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	s.mux.HandleFunc("GET /export_raw_vdi", func(w http.ResponseWriter, r *http.Request) {
		s.settle(task(r), "failure", "", "VDI_IN_USE", "OpaqueRef:vdi", "export")
		http.Error(w, "<html>"+r.URL.RawQuery, http.StatusInternalServerError)
	})
	_, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.ErrorIs(t, err, xapi.ErrVDIInUse)
	requireNoSecretButNames(t, err)
	require.Zero(t, s.leftTasks())
}

// requireNoSecretButNames allows the name of the parameter, which an excerpt may quote, but not its value.
func requireNoSecretButNames(t *testing.T, err error) {
	t.Helper()
	require.NotContains(t, err.Error(), sessionMark)
	require.NotContains(t, err.Error(), "session-canary")
}

func TestExportLogsInAgainWhenTheHandlerWantsIt(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	s.mux.HandleFunc("GET /export_raw_vdi", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("session_id") == sessionMark+"-1" {
			s.settle(task(r), "failure", "", "SESSION_AUTHENTICATION_FAILED")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.settle(task(r), "success", "")
		_, _ = io.WriteString(w, "disk")
	})
	d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.NoError(t, err)
	require.NoError(t, d.Finish(t.Context()))
	require.Equal(t, 2, s.logins)
	require.Zero(t, s.leftTasks())
}

func TestTransfersFollowRedirectsWithinThePoolOnly(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) { o.CancelTimeout = 100 * time.Millisecond })
	s.handle("host.get_all_records", func([]any) (any, []string) {
		return map[string]any{"OpaqueRef:h": map[string]any{"address": "127.0.0.2"}}, nil
	})
	target := ""
	data := pattern(300_000)
	redirect := func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, target+"/final?"+r.URL.RawQuery, http.StatusFound)
	}
	s.mux.HandleFunc("GET /export_raw_vdi", redirect)
	s.raw("PUT /import_raw_vdi", func(conn *net.TCPConn, _ *bufio.Reader, r *http.Request) {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 302 Found\r\nLocation: %s/final?%s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", target, r.URL.RawQuery)
	})
	s.mux.HandleFunc("GET /final", func(w http.ResponseWriter, r *http.Request) {
		s.settle(task(r), "success", "")
		_, _ = w.Write(data)
	})
	s.raw("PUT /final", func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		accept(conn)
		got := make([]byte, r.ContentLength)
		_, err := io.ReadFull(in, got)
		if err == nil && bytes.Equal(data, got) {
			s.settle(task(r), "success", "")
		}
	})

	asked := s.called("host.get_all_records") // by the login
	target = s.URL
	d, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.NoError(t, err)
	require.NoError(t, d.Finish(t.Context()))
	require.NoError(t, c.ImportVDI(t.Context(), "OpaqueRef:vdi", int64(len(data)), bytes.NewReader(data), nil))
	require.Equal(t, asked, s.called("host.get_all_records"))

	visited := false
	foreign := newServer(t)
	foreign.serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited = true }))
	for _, target = range []string{
		"http://127.0.0.3:1", "ftp://127.0.0.1", "http://u:p@127.0.0.1", "http://localhost.example:1", "://",
		"http://127.0.0.1:22", "http://127.0.0.2:1", "https://127.0.0.2:8443", foreign.URL,
	} {
		_, err = c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
		require.ErrorIs(t, err, xapi.ErrProtocol, target)
		requireNoSecret(t, err)
		err = c.ImportVDI(t.Context(), "OpaqueRef:vdi", int64(len(data)), bytes.NewReader(data), nil)
		require.ErrorIs(t, err, xapi.ErrProtocol, target)
		requireNoSecret(t, err)
	}
	require.False(t, visited)
	require.Zero(t, s.leftTasks())
}

func TestRedirectLoopEnds(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) { o.CancelTimeout = 100 * time.Millisecond })
	requests := 0
	s.mux.HandleFunc("GET /export_raw_vdi", func(w http.ResponseWriter, r *http.Request) {
		requests++
		http.Redirect(w, r, r.URL.String(), http.StatusFound)
	})
	_, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.ErrorIs(t, err, xapi.ErrProtocol)
	require.Equal(t, 4, requests)
}

func TestImportKeepsItsTailThoughTheHostAcceptsFirst(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	data := pattern(3 << 20)
	var got []byte
	s.raw("PUT /import_raw_vdi", func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		require.Equal(t, int64(len(data)), r.ContentLength)
		require.Empty(t, r.TransferEncoding)
		accept(conn)
		<-time.After(20 * time.Millisecond)
		got, _ = io.ReadAll(io.LimitReader(in, r.ContentLength))
		s.settle(task(r), "success", "<value>OpaqueRef:vdi</value>")
	})
	require.NoError(t, c.ImportVDI(t.Context(), "OpaqueRef:vdi", int64(len(data)), iotest.HalfReader(bytes.NewReader(data)), nil))
	require.True(t, bytes.Equal(data, got))
	require.Zero(t, s.called("task.cancel"))
	require.Zero(t, s.leftTasks())
}

func TestImportWorksWithAHostThatAnswersLast(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	data := pattern(100_000)
	s.raw("PUT /import_raw_vdi", func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		got, _ := io.ReadAll(io.LimitReader(in, r.ContentLength))
		if bytes.Equal(data, got) {
			s.settle(task(r), "success", "")
		}
		accept(conn)
	})
	require.NoError(t, c.ImportVDI(t.Context(), "OpaqueRef:vdi", int64(len(data)), bytes.NewReader(data), nil))
}

func TestImportBelievesTheTaskAndNotTheConnection(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) { o.CancelTimeout = 200 * time.Millisecond })
	data := pattern(8 << 20)
	status, info := "failure", []string{"SR_FULL", "1", "0"}
	s.raw("PUT /import_raw_vdi", func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		accept(conn)
		_, _ = io.CopyN(io.Discard, in, 1<<20)
		s.settle(task(r), status, "", info...)
	})
	err := c.ImportVDI(t.Context(), "OpaqueRef:vdi", int64(len(data)), bytes.NewReader(data), nil)
	require.ErrorIs(t, err, xapi.ErrSRFull)
	requireNoSecret(t, err)

	status, info = "success", nil
	err = c.ImportVDI(t.Context(), "OpaqueRef:vdi", int64(len(data)), bytes.NewReader(data), nil)
	require.ErrorIs(t, err, xapi.ErrTruncated)

	status = "pending"
	err = c.ImportVDI(t.Context(), "OpaqueRef:vdi", int64(len(data)), bytes.NewReader(data), nil)
	require.ErrorIs(t, err, xapi.ErrConnectionLost)
	requireNoSecret(t, err)
	require.Zero(t, s.leftTasks())
}

func TestImportIntoAHostThatStopsReadingIsStalled(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) {
		o.StallTimeout, o.CancelTimeout = 100*time.Millisecond, 100*time.Millisecond
	})
	done := make(chan struct{})
	s.raw("PUT /import_raw_vdi", func(conn *net.TCPConn, in *bufio.Reader, _ *http.Request) {
		accept(conn)
		_, _ = io.CopyN(io.Discard, in, 1<<20)
		<-done
	})
	defer close(done)
	body := io.LimitReader(zeros{}, 64<<20)
	err := c.ImportVDI(t.Context(), "OpaqueRef:vdi", 64<<20, body, nil)
	require.ErrorIs(t, err, xapi.ErrStalled)
	requireNoSecret(t, err)
	require.Equal(t, 1, s.called("task.cancel"))
	require.Zero(t, s.leftTasks())
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestImportReturnsTheSourcesError(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	s.raw("PUT /import_raw_vdi", func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		accept(conn)
		_, _ = io.CopyN(io.Discard, in, r.ContentLength)
		s.settle(task(r), "failure", "", "VDI_IO_ERROR")
	})
	lost := errors.New("repository lost")
	body := io.MultiReader(bytes.NewReader(pattern(100_000)), iotest.ErrReader(lost))
	require.ErrorIs(t, c.ImportVDI(t.Context(), "OpaqueRef:vdi", 200_000, body, nil), lost)
	err := c.ImportVDI(t.Context(), "OpaqueRef:vdi", 200_000, bytes.NewReader(pattern(100_000)), nil)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorContains(t, err, "100000 of 200000")
	require.Zero(t, s.leftTasks())
}

func TestImportEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	cause := errors.New("job stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	s.raw("PUT /import_raw_vdi", func(conn *net.TCPConn, in *bufio.Reader, _ *http.Request) {
		accept(conn)
		_, _ = io.CopyN(io.Discard, in, 1<<20)
		cancel(cause)
		_, _ = io.Copy(io.Discard, in)
	})
	err := c.ImportVDI(ctx, "OpaqueRef:vdi", 1<<40, zeros{}, nil)
	require.ErrorIs(t, err, cause)
	requireNoSecret(t, err)
	require.Equal(t, 1, s.called("task.cancel"))
	require.Zero(t, s.leftTasks())
}

func TestTransferToAnUnreachableHostNeverShowsTheSession(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) { o.StallTimeout = 50 * time.Millisecond })
	s.handle("task.create", func([]any) (any, []string) {
		s.Listener.Close()
		return "OpaqueRef:task", nil
	})
	_, err := c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.ErrorIs(t, err, xapi.ErrUnreachable)
	requireNoSecret(t, err)
}
