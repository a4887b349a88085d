package xapitest_test

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// BenchmarkExportBesideSendfile exports a disk of 256 MiB and, by turns, sends
// its file through the loopback with sendfile and nothing else. The metric
// x-sendfile is how the throughput of the one relates to the other's.
func BenchmarkExportBesideSendfile(b *testing.B) {
	const size = 256 * mib
	p := xapitest.NewPool(b, oneVM("Halted", size))
	c := p.Client(b)
	disk := p.VM("web").Disks[0]
	f, err := os.OpenFile(disk.Path, os.O_RDWR, 0)
	require.NoError(b, err)
	defer func() { _ = f.Close() }()
	for off := int64(0); off < size; off += 16 * mib {
		_, err := f.WriteAt(random(16*mib, byte(off>>24)+1), off)
		require.NoError(b, err)
	}
	buf := make([]byte, 2*mib)
	drain := func(r io.Reader) {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
		require.NoError(b, err)
	}
	var exports, sendfiles time.Duration
	b.SetBytes(2 * size)
	for b.Loop() {
		start := time.Now()
		d, err := c.ExportVDI(b.Context(), xapi.Ref[xapi.VDI](disk.Ref), nil)
		require.NoError(b, err)
		drain(d)
		require.NoError(b, d.Finish(b.Context()))
		require.NoError(b, d.Close())
		exports += time.Since(start)

		start = time.Now()
		conn, sent := sendfile(b, f)
		drain(conn)
		require.NoError(b, conn.Close())
		require.NoError(b, <-sent)
		sendfiles += time.Since(start)
	}
	b.ReportMetric(sendfiles.Seconds()/exports.Seconds(), "x-sendfile")
}

// sendfile returns a connection on which a file arrives.
func sendfile(b *testing.B, f *os.File) (net.Conn, <-chan error) {
	b.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer func() { _ = listener.Close() }()
	var d net.Dialer
	conn, err := d.DialContext(b.Context(), "tcp", listener.Addr().String())
	require.NoError(b, err)
	sender, err := listener.Accept()
	require.NoError(b, err)
	_, err = f.Seek(0, io.SeekStart)
	require.NoError(b, err)
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(sender, f)
		_ = sender.Close()
		sent <- err
	}()
	return conn, sent
}
