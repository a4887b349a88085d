package testenv

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// answerPortmapper is a portmapper on a unix socket that says yes to everything
// and knows nothing. NFS-Ganesha does not start where it cannot register; its
// clients are told the ports.
func answerPortmapper(tb testing.TB, socket string) {
	tb.Helper()
	listener, err := net.Listen("unix", socket) //nolint:noctx // does not block
	if err != nil {
		tb.Fatal(err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wg.Go(func() {
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, nc)
			mu.Unlock()
			wg.Go(func() {
				for sayYes(nc, bufio.NewReader(nc)) == nil {
				}
			})
		}
	})
	tb.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, nc := range conns {
			_ = nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

// sayYes answers one call: NULL with nothing, all else with TRUE.
func sayYes(w io.Writer, r *bufio.Reader) error {
	var mark [4]byte
	if _, err := io.ReadFull(r, mark[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(mark[:]) &^ (1 << 31) // one fragment, as short calls are
	if size < 24 || size > 1<<16 {
		return io.ErrUnexpectedEOF
	}
	call := make([]byte, size)
	if _, err := io.ReadFull(r, call); err != nil {
		return err
	}
	reply := make([]byte, 4, 32)
	reply = append(reply, call[:4]...)
	for _, v := range []uint32{1, 0, 0, 0, 0} { // an accepted reply, no verifier, success
		reply = binary.BigEndian.AppendUint32(reply, v)
	}
	if binary.BigEndian.Uint32(call[20:]) != 0 {
		reply = binary.BigEndian.AppendUint32(reply, 1)
	}
	binary.BigEndian.PutUint32(reply, uint32(len(reply)-4)|1<<31)
	_, err := w.Write(reply)
	return err
}
