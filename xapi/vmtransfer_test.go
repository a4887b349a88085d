package xapi_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

// asked is the query of a transfer without what every one has.
func asked(r *http.Request) url.Values {
	query := r.URL.Query()
	query.Del("session_id")
	query.Del("task_id")
	return query
}

func TestDownloadsAskForWhatTheirOptionsSay(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	var got url.Values
	for _, path := range []string{"GET /export", "GET /export_metadata", "GET /pool/xmldbdump"} {
		s.raw(path, func(conn *net.TCPConn, _ *bufio.Reader, r *http.Request) {
			got = asked(r)
			accept(conn)
			_, _ = io.WriteString(conn, r.URL.Path+"</database>\n")
			s.settle(task(r), "success", "")
		})
	}
	vm := xapi.Ref[xapi.VM]("OpaqueRef:vm")
	export := func(opts *xapi.ExportVMOptions) func() (*xapi.Download, error) {
		return func() (*xapi.Download, error) { return c.ExportVM(t.Context(), vm, opts) }
	}
	metadata := func(vm xapi.Ref[xapi.VM], opts *xapi.ExportMetadataOptions) func() (*xapi.Download, error) {
		return func() (*xapi.Download, error) { return c.ExportMetadata(t.Context(), vm, opts) }
	}
	for _, test := range []struct {
		open func() (*xapi.Download, error)
		body string
		want string
	}{
		{export(nil), "/export", "ref=OpaqueRef:vm"},
		{export(&xapi.ExportVMOptions{Compression: xapi.CompressGzip}), "/export", "ref=OpaqueRef:vm&use_compression=true"},
		{export(&xapi.ExportVMOptions{Compression: xapi.CompressZstd, PreservePowerState: true}), "/export", "preserve_power_state=true&ref=OpaqueRef:vm&use_compression=zstd"},
		{metadata(vm, nil), "/export_metadata", "export_snapshots=true&ref=OpaqueRef:vm"},
		{metadata("", nil), "/export_metadata", "all=true&export_snapshots=true&include_dom0=true"},
		{
			metadata("OpaqueRef:NULL", &xapi.ExportMetadataOptions{NoSnapshots: true, NoDom0: true, ExcludeDevices: []string{"vif", "vtpm"}}), "/export_metadata",
			"all=true&excluded_device_types=vif,vtpm&export_snapshots=false&include_dom0=false",
		},
		{func() (*xapi.Download, error) { return c.DumpDatabase(t.Context(), nil) }, "/pool/xmldbdump", ""},
	} {
		d, err := test.open()
		require.NoError(t, err, test.want)
		body, err := io.ReadAll(d)
		require.NoError(t, err)
		require.Equal(t, test.body+"</database>\n", string(body))
		require.NoError(t, d.Finish(t.Context()))
		want, err := url.ParseQuery(test.want)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.Zero(t, s.leftTasks())
	_, err := c.ExportVM(t.Context(), vm, &xapi.ExportVMOptions{Compression: "bzip2"})
	require.ErrorContains(t, err, "bzip2")
	require.Zero(t, s.leftTasks())
}

func TestVMExportThatFailsIsNeverComplete(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	data := pattern(5000)
	cut := 0
	s.raw("GET /export", func(conn *net.TCPConn, _ *bufio.Reader, r *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.0 200 OK\r\nConnection: close\r\ntask-id: x\r\ncontent-type: application/octet-stream\r\n\r\n")
		_, _ = conn.Write(data[:cut])
		if cut%2 == 0 {
			_, _ = io.WriteString(conn, "HTTP/1.1 500 Internal Error\r\n\r\n<html>")
		}
		s.settle(task(r), "failure", "", "VDI_IO_ERROR", "Device I/O errors")
	})
	for cut = 0; cut <= len(data); cut += 113 {
		d, err := c.ExportVM(t.Context(), "OpaqueRef:vm", nil)
		require.NoError(t, err)
		require.ErrorIs(t, d.Finish(t.Context()), xapi.ErrVDIIOError)
	}
	require.Zero(t, s.leftTasks())
}

// Under compression a host is silent as long as it reads zeros; its task says that it reads.
func TestSilentVMExportIsAliveWhileItsTaskProgresses(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) {
		o.StallTimeout, o.FirstByteTimeout, o.CancelTimeout = 300*time.Millisecond, 300*time.Millisecond, time.Second
	})
	advances := 80
	s.raw("GET /export", func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		accept(conn)
		_, _ = conn.Write([]byte("x"))
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range advances {
			<-tick.C
			s.mu.Lock()
			if record := s.tasks[task(r)]; record != nil {
				record.Progress += 0.01
			}
			s.mu.Unlock()
		}
		if advances > 10 {
			s.settle(task(r), "success", "")
			return
		}
		_, _ = in.ReadByte() // silent for good
	})
	d, err := c.ExportVM(t.Context(), "OpaqueRef:vm", &xapi.ExportVMOptions{Compression: xapi.CompressZstd})
	require.NoError(t, err)
	got, err := io.ReadAll(d)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.NoError(t, d.Finish(t.Context()))

	advances = 3
	d, err = c.ExportVM(t.Context(), "OpaqueRef:vm", nil)
	require.NoError(t, err)
	_, err = io.ReadAll(d)
	require.ErrorIs(t, err, xapi.ErrStalled)
	require.ErrorIs(t, d.Finish(t.Context()), xapi.ErrStalled)
	require.Zero(t, s.leftTasks())
}

const imported = "<value><array><data><value>OpaqueRef:new-1</value><value>OpaqueRef:new-2</value></data></array></value>"

func TestVMImportReturnsTheVMsOfItsTask(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	data := pattern(3 << 20)
	var got []byte
	var query url.Values
	receive := func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		query = asked(r)
		accept(conn)
		got, _ = io.ReadAll(io.LimitReader(in, r.ContentLength))
		s.settle(task(r), "success", imported)
	}
	s.raw("PUT /import", receive)
	s.raw("PUT /import_metadata", receive)
	want := []xapi.Ref[xapi.VM]{"OpaqueRef:new-1", "OpaqueRef:new-2"}
	vms, err := c.ImportVM(t.Context(), int64(len(data)), iotest.HalfReader(bytes.NewReader(data)), &xapi.ImportVMOptions{SR: "OpaqueRef:sr", Restore: true, Force: true})
	require.NoError(t, err)
	require.Equal(t, want, vms)
	require.True(t, bytes.Equal(data, got))
	require.Equal(t, url.Values{"sr_id": {"OpaqueRef:sr"}, "restore": {"true"}, "force": {"true"}}, query)

	_, err = c.ImportVM(t.Context(), int64(len(data)), bytes.NewReader(data), nil)
	require.NoError(t, err)
	require.Empty(t, query)

	vms, err = c.ImportMetadata(t.Context(), int64(len(data)), bytes.NewReader(data), &xapi.ImportMetadataOptions{DryRun: true, VDIs: map[string]string{"a": "b"}})
	require.NoError(t, err)
	require.Equal(t, want, vms)
	require.Equal(t, url.Values{"dry_run": {"true"}, "vdi:a": {"b"}}, query)
	require.Zero(t, s.leftTasks())

	for _, length := range []int64{0, -2} {
		_, err = c.ImportVM(t.Context(), length, bytes.NewReader(data), nil)
		require.Error(t, err)
	}
	_, err = c.ImportMetadata(t.Context(), xapi.UnknownLength, bytes.NewReader(data), nil)
	require.Error(t, err)
	require.Zero(t, s.leftTasks())
}

func TestVMImportThatMadeNoVMIsAnError(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	result := ""
	receive := func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		accept(conn)
		_, _ = io.CopyN(io.Discard, in, r.ContentLength)
		s.settle(task(r), "success", result)
	}
	s.raw("PUT /import", receive)
	s.raw("PUT /import_metadata", receive)
	for _, result = range []string{
		"", "<value></value>", "<value><array><data></data></array></value>", "<value><array><data><value>OpaqueRef:NULL</value></data></array></value>",
	} {
		vms, err := c.ImportVM(t.Context(), 3, strings.NewReader("abc"), nil)
		require.ErrorIs(t, err, xapi.ErrProtocol, result)
		require.Empty(t, vms)
		requireNoSecret(t, err)
	}
	_, err := c.ImportMetadata(t.Context(), 3, strings.NewReader("abc"), nil)
	require.ErrorIs(t, err, xapi.ErrProtocol)
	_, err = c.ImportMetadata(t.Context(), 3, strings.NewReader("abc"), &xapi.ImportMetadataOptions{DryRun: true})
	require.NoError(t, err) // nothing was to be made
	require.Zero(t, s.leftTasks())
}

// A host hangs up when it has the last disk, and what stands behind it in the archive meets a closed door.
func TestVMImportSucceedsThoughTheHostHangsUpEarly(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	data := append(pattern(1<<20), make([]byte, 4<<20)...)
	reset := false
	s.raw("PUT /import", func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		accept(conn)
		_, _ = io.CopyN(io.Discard, in, 1<<20)
		if reset {
			_ = conn.SetLinger(0)
		}
		_ = conn.Close()
		<-time.After(30 * time.Millisecond) // the task needs a moment
		s.settle(task(r), "success", imported)
	})
	for _, reset = range []bool{false, true} {
		vms, err := c.ImportVM(t.Context(), int64(len(data)), bytes.NewReader(data), nil)
		require.NoError(t, err)
		require.Len(t, vms, 2)
	}
	require.Zero(t, s.called("task.cancel"))
	require.Zero(t, s.leftTasks())
}

func TestVMImportThatFailsIsTheTasksError(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) { o.StallTimeout, o.CancelTimeout = 300*time.Millisecond, 100*time.Millisecond })
	status := "failure"
	s.raw("PUT /import", func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		accept(conn)
		_, _ = io.CopyN(io.Discard, in, 1<<20)
		s.settle(task(r), status, "", "IMPORT_ERROR_SOME_CHECKSUMS_FAILED")
	})
	data := pattern(4 << 20)
	vms, err := c.ImportVM(t.Context(), int64(len(data)), bytes.NewReader(data), nil)
	require.ErrorIs(t, err, &xapi.Error{Code: "IMPORT_ERROR_SOME_CHECKSUMS_FAILED"})
	require.Empty(t, vms)
	requireNoSecret(t, err)

	status = "pending" // no verdict comes
	vms, err = c.ImportVM(t.Context(), int64(len(data)), bytes.NewReader(data), nil)
	require.True(t, errors.Is(err, xapi.ErrStalled) || errors.Is(err, xapi.ErrConnectionLost), "%v", err)
	require.Empty(t, vms)
	requireNoSecret(t, err)
	require.Zero(t, s.leftTasks())
}

func TestVMImportOfUnknownLength(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	data := append([]byte("ova.xml\x00"), append(pattern(3<<20), make([]byte, 1024)...)...)
	received := make(chan []byte, 10)
	s.raw("PUT /import", func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		require.Empty(t, r.Header.Get("Content-Length"))
		require.Empty(t, r.Header.Get("Transfer-Encoding"))
		require.Empty(t, r.TransferEncoding)
		accept(conn)
		got := make([]byte, len(data))
		_, err := io.ReadFull(in, got)
		received <- got
		if err == nil {
			s.settle(task(r), "success", imported)
		} else {
			s.settle(task(r), "failure", "", "IMPORT_ERROR_PREMATURE_EOF")
		}
	})
	vms, err := c.ImportVM(t.Context(), xapi.UnknownLength, io.MultiReader(bytes.NewReader(data[:1]), iotest.DataErrReader(bytes.NewReader(data[1:]))), nil)
	require.NoError(t, err)
	require.Len(t, vms, 2)
	require.True(t, bytes.Equal(data, <-received))
	require.Zero(t, s.called("task.cancel"))

	for _, source := range []io.Reader{
		bytes.NewReader(data[:len(data)-1]), bytes.NewReader(data[:1<<20]), bytes.NewReader(data[:5]), bytes.NewReader(nil),
	} {
		_, err = c.ImportVM(t.Context(), xapi.UnknownLength, source, nil)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	for _, magic := range []string{"\x1f\x8b", "\x28\xb5\x2f\xfd"} {
		_, err = c.ImportVM(t.Context(), xapi.UnknownLength, bytes.NewReader([]byte(magic+string(make([]byte, 4096)))), nil)
		require.ErrorIs(t, err, xapi.ErrLengthRequired)
	}
	require.Zero(t, s.leftTasks())
}

// An import may be done before it can be stopped. Its VMs must not be forgotten.
func TestStoppedVMImportNamesWhatExistsAllTheSame(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, nil)
	stopped := errors.New("job stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	late := true
	s.raw("PUT /import", func(conn *net.TCPConn, in *bufio.Reader, r *http.Request) {
		accept(conn)
		_, _ = io.CopyN(io.Discard, in, 1<<20)
		if late {
			s.settle(task(r), "success", imported)
		}
		cancel(stopped)
		_, _ = io.Copy(io.Discard, in)
	})
	vms, err := c.ImportVM(ctx, 1<<40, zeros{}, nil)
	require.ErrorIs(t, err, stopped)
	require.Len(t, vms, 2)

	late = false
	ctx, cancel = context.WithCancelCause(t.Context())
	vms, err = c.ImportVM(ctx, 1<<40, zeros{}, nil)
	require.ErrorIs(t, err, stopped)
	require.Empty(t, vms)

	lost := errors.New("repository lost")
	cancel = func(error) {}
	vms, err = c.ImportVM(t.Context(), 1<<40, io.MultiReader(bytes.NewReader(pattern(2<<20)), iotest.ErrReader(lost)), nil)
	require.ErrorIs(t, err, lost)
	require.Empty(t, vms)
	require.Equal(t, 3, s.called("task.cancel"))
	require.Zero(t, s.leftTasks())
}

func TestMetadataOfAnnouncedLengthIsTruncatedWhenShort(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	c := s.dial(t, func(o *xapi.Options) { o.CancelTimeout = 100 * time.Millisecond })
	s.raw("GET /export_metadata", func(conn *net.TCPConn, _ *bufio.Reader, _ *http.Request) {
		_, _ = io.WriteString(conn, "HTTP/1.0 200 OK\r\nContent-Length: "+strconv.Itoa(100)+"\r\n\r\n0123456789")
	})
	d, err := c.ExportMetadata(t.Context(), "", nil)
	require.NoError(t, err)
	err = d.Finish(t.Context())
	require.ErrorIs(t, err, xapi.ErrTruncated)
	requireNoSecret(t, err)
	require.Zero(t, s.leftTasks())
}
