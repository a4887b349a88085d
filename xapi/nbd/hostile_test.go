package nbd_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi/nbd"
)

// script is a peer that says what it has to say, whatever it hears, and hangs
// up. What comes after the greeting waits for the first request.
type script struct {
	net.Conn
	greeting, rest io.Reader
	asked          chan struct{}
	once           sync.Once
}

func newScript(answers []byte) *script {
	s := &script{greeting: bytes.NewReader(answers), rest: bytes.NewReader(nil), asked: make(chan struct{})}
	if rest, ok := bytes.CutPrefix(answers, structured()); ok {
		s.greeting, s.rest = bytes.NewReader(structured()), bytes.NewReader(rest)
		return s
	}
	_ = s.Close() // there is nothing to wait with
	return s
}

func (s *script) Read(p []byte) (int, error) {
	if n, err := s.greeting.Read(p); err == nil {
		return n, nil
	}
	<-s.asked
	return s.rest.Read(p)
}

func (s *script) Write(p []byte) (int, error) {
	if bytes.HasPrefix(p, number(0x25609513, 4)) {
		_ = s.Close()
	}
	return len(p), nil
}

func (s *script) Close() error                     { s.once.Do(func() { close(s.asked) }); return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// number encodes integers of the given widths, alternating value and bytes.
func number(pairs ...uint64) []byte {
	var b []byte
	for i := 0; i < len(pairs); i += 2 {
		b = append(b, binary.BigEndian.AppendUint64(nil, pairs[i])[8-pairs[i+1]:]...)
	}
	return b
}

func option(option, kind uint64, data []byte) []byte {
	return append(number(0x3e889045565a9, 8, option, 4, kind, 4, uint64(len(data)), 4), data...)
}

// structured is the handshake of a server with all we can use, for 1 MiB.
func structured() []byte {
	return bytes.Join([][]byte{
		[]byte("NBDMAGICIHAVEOPT\x00\x03"), option(8, 1, nil),
		option(10, 4, append(number(7, 4), "base:allocation"...)), option(10, 1, nil),
		option(7, 3, number(0, 2, mib, 8, 3, 2)), option(7, 3, number(3, 2, 1, 4, 4096, 4, mib, 4)), option(7, 1, nil),
	}, nil)
}

func chunk(flags, kind, cookie uint64, data []byte) []byte {
	return append(number(0x668e33ef, 4, flags, 2, kind, 2, cookie, 8, uint64(len(data)), 4), data...)
}

// play opens a disk of a peer and reads 4 KiB of it.
func play(tb testing.TB, answers []byte) (err error) {
	tb.Helper()
	c, err := nbd.NewClient(tb.Context(), newScript(answers), "disk", nil)
	if err != nil {
		return err
	}
	p := make([]byte, 4*kib)
	_, err = c.ReadAt(p, 0)
	for _, statusErr := range c.Extents(tb.Context(), 0, mib) {
		_ = statusErr
	}
	_ = c.Close()
	return err
}

func TestMalformedAnswersAreProtocolErrors(t *testing.T) {
	t.Parallel()
	data := func(off, n uint64) []byte { return append(number(off, 8), make([]byte, n)...) }
	good := chunk(1, 1, 1, data(0, 4*kib))
	require.NoError(t, play(t, append(structured(), good...)))
	split := append(append(structured(), chunk(0, 1, 1, data(2*kib, 2*kib))...), chunk(1, 2, 1, number(0, 8, 2*kib, 4))...)
	require.NoError(t, play(t, split), "out of order, with a hole")
	for name, answer := range map[string][]byte{
		"unknown magic":          number(1, 4),
		"simple after all":       number(0x67446698, 4, 0, 4, 1, 8),
		"unknown cookie":         chunk(1, 1, 9, data(0, 4*kib)),
		"a gap":                  chunk(1, 1, 1, data(0, 4*kib-1)),
		"nothing":                chunk(1, 0, 1, nil),
		"too much":               chunk(1, 1, 1, data(0, 4*kib+1)),
		"before the start":       chunk(1, 1, 1, data(1<<64-1, 4*kib)),
		"beyond the end":         chunk(1, 1, 1, data(4*kib, 1)),
		"a hole too long":        chunk(1, 2, 1, number(0, 8, 1<<32-1, 4)),
		"bytes twice":            append(chunk(0, 1, 1, data(0, 3*kib)), chunk(1, 1, 1, data(2*kib, 2*kib))...),
		"inner bytes twice":      append(chunk(0, 1, 1, data(0, 3*kib)), chunk(1, 1, 1, data(1*kib, 1))...),
		"data of no bytes":       chunk(1, 1, 1, data(0, 0)),
		"unknown chunk":          chunk(1, 77, 1, nil),
		"block status of a read": chunk(1, 5, 1, number(7, 4, 4*kib, 4, 0, 4)),
		"error without a code":   chunk(1, 1<<15|1, 1, number(0, 4, 0, 2)),
		"message too long":       chunk(1, 1<<15|1, 1, number(5, 4, 60000, 2)),
		"huge error":             number(0x668e33ef, 4, 1, 2, 1<<15|1, 2, 1, 8, 1<<31, 4),
	} {
		require.ErrorIs(t, play(t, append(structured(), answer...)), nbd.ErrProtocol, name)
	}
	failed := new(nbd.CommandError)
	require.ErrorAs(t, play(t, append(structured(), chunk(1, 1<<15|1, 1, append(number(5, 4, 3, 2), "bad"...))...)), &failed)
	require.Equal(t, "bad", failed.Message)
}

func TestMalformedHandshakesAreProtocolErrors(t *testing.T) {
	t.Parallel()
	hello := []byte("NBDMAGICIHAVEOPT\x00\x03")
	with := func(parts ...[]byte) []byte { return bytes.Join(append([][]byte{hello}, parts...), nil) }
	for name, answers := range map[string][]byte{
		"another protocol":  []byte("HTTP/1.1 400 Bad Request\r\n"),
		"oldstyle":          append([]byte("NBDMAGIC"), number(0x420281861253, 8, 0, 2)...),
		"reply to another":  with(option(9, 1, nil)),
		"a reply too long":  with(number(0x3e889045565a9, 8, 8, 4, 1, 4, 1<<30, 4)),
		"no size":           with(option(8, 1<<31|1, nil), option(7, 1, nil)),
		"a negative size":   with(option(8, 1<<31|1, nil), option(7, 3, number(0, 2, 1<<63, 8, 3, 2)), option(7, 1, nil)),
		"blocks of 3 bytes": with(option(8, 1<<31|1, nil), option(7, 3, number(3, 2, 3, 4, 4096, 4, mib, 4))),
	} {
		require.ErrorIs(t, play(t, answers), nbd.ErrProtocol, name)
	}
}

func TestAnswersCutAnywhereAreErrors(t *testing.T) {
	t.Parallel()
	whole := append(structured(), chunk(1, 1, 1, append(number(0, 8), make([]byte, 4*kib)...))...)
	for n := range len(whole) {
		require.ErrorIs(t, play(t, whole[:n]), nbd.ErrClosed, "cut at %d", n)
	}
}

// FuzzClient feeds whatever to a client: it neither panics, nor hangs, nor
// takes memory that the lengths in it ask for.
func FuzzClient(f *testing.F) {
	read := chunk(1, 1, 1, append(number(0, 8), make([]byte, 4*kib)...))
	status := chunk(1, 5, 2, number(7, 4, 64*kib, 4, 0, 4, mib, 4, 3, 4))
	f.Add(bytes.Join([][]byte{structured(), read, status}, nil))
	f.Add(append([]byte("NBDMAGICIHAVEOPT\x00\x00"), make([]byte, 200)...))
	f.Fuzz(func(t *testing.T, answers []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_ = play(t, answers)
		runtime.ReadMemStats(&after)
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 4*mib+64*uint64(len(answers)) {
			t.Errorf("%d bytes allocated for %d of answers", taken, len(answers))
		}
	})
}

// FuzzServer feeds whatever to a server.
func FuzzServer(f *testing.F) {
	name := append(number(4, 4), "disk"...)
	f.Add(bytes.Join([][]byte{
		number(3, 4), []byte("IHAVEOPT"), number(8, 4, 0, 4), []byte("IHAVEOPT"), number(7, 4, 10, 4), name, number(0, 2),
		number(0x25609513, 4, 0, 2, 0, 2, 1, 8, 0, 8, 4096, 4), number(0x25609513, 4, 0, 2, 2, 2, 1, 8, 0, 8, 0, 4),
	}, nil))
	m := newMemory(mib)
	f.Fuzz(func(t *testing.T, questions []byte) {
		_ = server(m).Serve(t.Context(), newScript(questions))
	})
}
