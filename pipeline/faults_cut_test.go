package pipeline_test

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
)

// ending is what becomes of a connection that is cut.
type ending string

const (
	fin     ending = "FIN"
	rst     ending = "RST"
	silence ending = "silence"
	swallow ending = "the rest swallowed" // by a middlebox: the host has sent all, and is content
)

// endingsOf are those that are tried: all, or two of them for each mode.
func endingsOf(mode string, stride int) []ending {
	switch {
	case stride == 1:
		return []ending{fin, rst, silence, swallow}
	case mode == pipeline.ModeFull:
		return []ending{silence, swallow}
	default:
		return []ending{fin, rst}
	}
}

// cutter cuts what comes back on the first connection whose request begins with a
// prefix, after a number of bytes of it, the header included.
type cutter struct {
	prefix string
	after  int64 // negative: only counted
	how    ending

	taken  atomic.Bool
	passed atomic.Int64 // bytes of that connection
	header atomic.Int64 // of these, before the body
	struck atomic.Bool
	at     time.Time // when it struck
}

func (c *cutter) wrap(conn net.Conn) net.Conn {
	return &cutConn{Conn: conn, cutter: c, left: -1, closed: make(chan struct{})}
}

type cutConn struct {
	net.Conn

	cutter *cutter
	mu     sync.Mutex
	asked  bool
	mine   bool
	left   int64 // until the cut; negative: never
	closed chan struct{}
	once   sync.Once
}

func (c *cutConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if !c.asked {
		c.asked = true
		if bytes.HasPrefix(p, []byte(c.cutter.prefix)) && !c.cutter.taken.Swap(true) {
			c.mine, c.left = true, c.cutter.after
		}
	}
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// Read may be under way when the request is written.
func (c *cutConn) Read(p []byte) (int, error) {
	if c.allowed(0, 1) == 0 {
		return 0, c.end()
	}
	n, err := c.Conn.Read(p)
	allowed := c.allowed(n, n)
	if end := bytes.Index(p[:n], []byte("\r\n\r\n")); end >= 0 && c.cutter.header.Load() == 0 {
		c.cutter.header.Store(int64(end + 4)) // it comes in one piece
	}
	if n > 0 && allowed == 0 {
		return 0, c.end()
	}
	if allowed < n {
		err = nil
	}
	return allowed, err
}

// allowed returns how many of n bytes may pass, and counts used of them.
func (c *cutConn) allowed(used, n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mine {
		return n
	}
	if c.left >= 0 {
		n = int(min(int64(n), c.left))
		used = min(used, n)
		c.left -= int64(used)
	}
	c.cutter.passed.Add(int64(used))
	return n
}

func (c *cutter) strike() {
	if !c.struck.Swap(true) {
		c.at = time.Now()
	}
}

func (c *cutConn) end() error {
	c.cutter.strike()
	switch c.cutter.how {
	case silence:
		<-c.closed
		return net.ErrClosed
	case swallow:
		_, _ = io.Copy(io.Discard, c.Conn)
		return io.EOF
	case rst:
		_ = c.Conn.Close()
		return &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	default:
		_ = c.Conn.Close()
		return io.EOF
	}
}

func (c *cutConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// An export that is cut anywhere, in whichever way, makes no point and leaves
// nothing; the next run succeeds and continues the chain.
func TestExportsCutAnywhereMakeNoPoint(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{pipeline.ModeDelta, pipeline.ModeFull} {
		stride := faultStride(t, 33)
		for _, how := range endingsOf(mode, stride) {
			t.Run(fmt.Sprintf("%s, %s", mode, how), func(t *testing.T) {
				t.Parallel()
				inLab(t, labOptions{mode: mode}, func(l *lab) {
					l.succeeds()
					l.write(0, mib, mib, 77)
					l.write(1, 0, mib, 78)
					count := &cutter{prefix: "GET /export", after: -1}
					l.wire.through(count.wrap)
					l.succeeds()
					size := count.passed.Load()
					require.Greater(t, size, int64(mib))
					tried := 0
					for at := range cutPoints(count.header.Load(), size, int64(stride)) {
						l.write(0, mib, mib, byte(80+tried)) // blocks that differ from the base
						l.write(1, 0, mib, byte(90+tried))
						l.checkCut(how, at, size)
						if tried++; tried%4 == 0 {
							l.succeeds("after the cut at", at)
						}
					}
					l.succeeds()
				})
			})
		}
	}
}

// cutPoints are the bytes at which a transfer of that size is cut: in its header and
// behind it, at every 64 KiB, before its last byte and after it; or some of these. A body that is
// cut before it has shown what it is may be a refusal.
func cutPoints(header, size, stride int64) iter.Seq[int64] {
	if stride > 1 {
		return slices.Values([]int64{0, header - 1, header + 2000, min(stride*64<<10, size/2), size - 1, size})
	}
	points := []int64{0, 1, header / 2, header - 1, header + 8, header + 512, header + 2000}
	for at := stride * 64 << 10; at < size; at += stride * 64 << 10 {
		points = append(points, at)
	}
	return slices.Values(append(points, size-513, size-512, size-1, size))
}

// checkCut runs the job with an export that is cut. After its last byte nothing is
// missing but the end of the connection.
func (l *lab) checkCut(how ending, at, size int64) {
	l.t.Helper()
	cut := &cutter{prefix: "GET /export", after: at, how: how}
	l.wire.through(cut.wrap)
	defer l.wire.through(nil)
	begin := time.Now()
	what := fmt.Sprintf("%s at %d of %d", how, at, size)
	if at >= size {
		l.either(what)
	} else {
		run := l.fails(nil, what)
		require.Equal(l.t, task.Failure, run.Status(), what)
		require.True(l.t, cut.struck.Load(), what)
	}
	if how == silence && cut.struck.Load() {
		limit := stallLimit
		if at < 2000 { // the header counts as silence before the first byte
			limit = firstByteLimit
		}
		require.LessOrEqual(l.t, time.Since(cut.at), limit*11/10, what)
	} else {
		require.LessOrEqual(l.t, time.Since(begin), stallLimit*11/10, what)
	}
}
