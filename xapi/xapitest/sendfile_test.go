package xapitest_test

import (
	"context"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// BenchmarkExportBesideSendfile exports a disk of 256 MiB as a VHD and, by turns,
// sends its file through the loopback with sendfile and nothing else. The metric
// x-sendfile is how the throughput of the one relates to the other's: the median
// of all pairs of neighbours, of which either comes first by turns, so that what
// else the machine is at strikes both.
func BenchmarkExportBesideSendfile(b *testing.B) {
	const size = 256 * mib
	p := xapitest.NewPool(b, oneVM("Halted", size))
	c := p.Client(b)
	disk := p.VM("web").Disks[0]
	data := random(16*mib, 1)
	for off := int64(0); off < size; off += 16 * mib {
		require.NoError(b, p.WriteVDI(disk.UUID, data, off))
	}
	f, err := os.Open(disk.Path)
	require.NoError(b, err)
	defer func() { _ = f.Close() }()
	buf := make([]byte, 2*mib)
	drain := func(r io.Reader) {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
		require.NoError(b, err)
	}
	export := func() {
		d, err := c.ExportVDI(b.Context(), xapi.Ref[xapi.VDI](disk.Ref), nil)
		require.NoError(b, err)
		drain(d)
		require.NoError(b, d.Finish(b.Context()))
		require.NoError(b, d.Close())
	}
	plain := func() {
		conn, sent := sendfile(b, f)
		drain(conn)
		require.NoError(b, conn.Close())
		require.NoError(b, <-sent)
	}
	took := func(f func()) float64 {
		start := time.Now()
		f()
		return time.Since(start).Seconds()
	}
	export() // both are warm then
	plain()
	var ratios []float64
	b.SetBytes(2 * size)
	for b.Loop() {
		var exported, sent float64
		if len(ratios)%2 == 0 {
			exported, sent = took(export), took(plain)
		} else {
			sent, exported = took(plain), took(export)
		}
		ratios = append(ratios, sent/exported)
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-sendfile")
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
