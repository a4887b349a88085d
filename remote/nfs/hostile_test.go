package nfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
)

// results decode what is behind the RPC header and, in NFS, the status.
var results = []struct {
	name   string
	decode func(d *decoder) error
	honest func(e *encoder)
}{
	{"mount", func(d *decoder) error { _, err := decodeMount(d); return err }, func(e *encoder) {
		e.uint32(0)
		e.opaque([]byte("root"))
		e.uint32(2)
		e.uint32(authSys)
		e.uint32(390003)
	}},
	{"port", func(d *decoder) error { _, err := decodePort(d); return err }, func(e *encoder) { e.uint32(2049) }},
	{"getattr", func(d *decoder) error { _, err := decodeGetAttr(d); return err }, func(e *encoder) { e.testAttr(typeDir, 1) }},
	{"lookup", func(d *decoder) error { _, _, err := decodeLookup(d); return err }, func(e *encoder) {
		e.opaque([]byte("handle"))
		e.bool(true)
		e.testAttr(typeRegular, 1)
	}},
	{"readlink", func(d *decoder) error { _, err := decodeReadLink(d); return err }, func(e *encoder) {
		e.bool(true)
		e.testAttr(typeSymlink, 1)
		e.string("../target")
	}},
	{"fsstat", func(d *decoder) error { _, err := decodeFSStat(d); return err }, func(e *encoder) {
		e.bool(false)
		e.b = append(e.b, make([]byte, 24)...)
	}},
	{"fsinfo", func(d *decoder) error { _, err := decodeFSInfo(d); return err }, func(e *encoder) {
		e.bool(false)
		for range 4 {
			e.uint32(1 << 20)
		}
	}},
	{"pathconf", func(d *decoder) error { _, err := decodePathConf(d); return err }, func(e *encoder) {
		e.bool(false)
		e.b = append(e.b, make([]byte, 20)...)
	}},
	{"create", func(d *decoder) error { _, _, err := decodeCreate(d); return err }, func(e *encoder) {
		e.bool(true)
		e.opaque([]byte("handle"))
		e.bool(true)
		e.testAttr(typeRegular, 0)
		e.bool(true)
		e.b = append(e.b, make([]byte, 24)...)
		e.bool(true)
		e.testAttr(typeDir, 0)
	}},
	{"write", func(d *decoder) error { _, err := decodeWrite(d, 100); return err }, func(e *encoder) {
		e.testWcc()
		e.uint32(100)
		e.uint32(0)
		e.fixed(make([]byte, 8))
	}},
	{"commit", func(d *decoder) error { _, err := decodeCommit(d); return err }, func(e *encoder) {
		e.testWcc()
		e.fixed(make([]byte, 8))
	}},
	{"read", func(d *decoder) error { _, _, err := decodeRead(d, 100); return err }, func(e *encoder) {
		e.bool(true)
		e.testAttr(typeRegular, 1)
		e.uint32(100)
		e.bool(true)
		e.uint32(100)
	}},
	{"readdir", func(d *decoder) error { _, err := decodeReadDir(d, 0); return err }, func(e *encoder) { e.testNames(true, "a", "b") }},
	{"readdirplus", func(d *decoder) error { _, err := decodeReadDirPlus(d, 0); return err }, func(e *encoder) { e.testPage(true, "a", "b") }},
}

// testPage appends a page of a listing without attributes.
func (e *encoder) testPage(last bool, names ...string) {
	e.bool(false)
	e.fixed(make([]byte, 8))
	for i, name := range names {
		e.bool(true)
		e.uint64(uint64(i))
		e.string(name)
		e.uint64(uint64(i + 1))
		e.bool(false)
		e.bool(false)
	}
	e.bool(false)
	e.bool(last)
}

func TestAnAnswerCutAtAnyLengthIsAProtocolError(t *testing.T) {
	for _, r := range results {
		e := &encoder{}
		r.honest(e)
		require.NoError(t, r.decode(&decoder{b: e.b}), r.name)
		for n := range e.b {
			require.ErrorIs(t, r.decode(&decoder{b: e.b[:n]}), ErrProtocol, "%s cut at %d of %d", r.name, n, len(e.b))
		}
	}
}

// FuzzReply feeds arbitrary bytes to every decoder, and to the reader of a
// connection on which a READ and a listing wait.
func FuzzReply(f *testing.F) {
	header := []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	for i, r := range results {
		e := &encoder{b: append([]byte{0, 0, 0, byte(1 + i%2)}, header...)}
		r.honest(e)
		f.Add(append(binary.BigEndian.AppendUint32(nil, uint32(len(e.b))|lastFragment), e.b...))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		for _, r := range results {
			_ = r.decode(&decoder{b: stream})
		}
		if len(stream) > 8 {
			_ = (&decoder{b: stream[8:]}).rpcHeader()
		}
		c := newConn(nil, "", time.Minute, nil)
		dst := make([]byte, 64)
		calls := []*call{{done: make(chan struct{}, 1), dst: dst, max: smallReply}, {done: make(chan struct{}, 1), max: smallReply}}
		c.waiting[1], c.waiting[2] = calls[0], calls[1]
		records := newRecords(bytes.NewReader(stream))
		for c.receive(records) == nil {
		}
		for _, k := range calls {
			require.LessOrEqual(t, len(k.reply), smallReply)
			require.LessOrEqual(t, cap(k.reply), 4*smallReply)
			if d, err := k.result(); err == nil && d.uint32() == 0 {
				n, _, err := decodeRead(d, k.n)
				require.True(t, err != nil || n <= len(dst))
			}
		}
	})
}

func TestAHostileServerGetsATypedErrorAndNoMemory(t *testing.T) {
	for _, c := range []struct {
		what      string
		procedure uint32
		answer    answerFunc
		kind      error
	}{
		{"more data than asked for", procRead, ok(func(e *encoder) {
			e.bool(false)
			e.uint32(1 << 30)
			e.bool(false)
			e.uint32(1 << 30)
		}), ErrProtocol},
		{"count and length differ", procRead, ok(func(e *encoder) {
			e.bool(false)
			e.uint32(9)
			e.bool(false)
			e.opaque(make([]byte, 8))
		}), ErrProtocol},
		{"no data and no end", procRead, ok(func(e *encoder) {
			e.bool(false)
			e.uint32(0)
			e.bool(false)
			e.uint32(0)
		}), ErrProtocol},
		{"more written than asked for", procWrite, ok(func(e *encoder) {
			e.testWcc()
			e.uint32(1 << 30)
			e.uint32(2)
			e.fixed(make([]byte, 8))
		}), ErrProtocol},
		{"nothing written", procWrite, ok(func(e *encoder) {
			e.testWcc()
			e.uint32(0)
			e.uint32(2)
			e.fixed(make([]byte, 8))
		}), ErrProtocol},
		{"a listing in circles", procReadDirPlus, ok(func(e *encoder) { e.testPage(false, "a", "b") }), ErrProtocol},
		{"pages of nothing but the directory", procReadDirPlus, onlyDots(), ErrProtocol},
		{"a page without entries", procReadDirPlus, ok(func(e *encoder) { e.testPage(false) }), ErrProtocol},
		{"a name with a slash", procReadDirPlus, ok(func(e *encoder) { e.testPage(true, "../../etc/passwd") }), ErrProtocol},
		{"no name", procReadDirPlus, ok(func(e *encoder) { e.testPage(true, "") }), ErrProtocol},
		{"a listing without end", procReadDirPlus, endless(), ErrProtocol},
		{"an empty handle", procLookup, ok(func(e *encoder) { e.opaque(nil) }), ErrProtocol},
		{"a long handle", procLookup, ok(func(e *encoder) { e.opaque(make([]byte, 65)) }), ErrProtocol},
		{"a huge file", procLookup, ok(func(e *encoder) {
			e.opaque([]byte{2})
			e.bool(true)
			e.testAttr(typeRegular, 1<<63)
		}), ErrProtocol},
		{"an unknown status", procLookup, failing(12345), status(12345)},
		{"a loop of links", procLookup, ok(func(e *encoder) {
			e.opaque([]byte{2})
			e.bool(true)
			e.testAttr(typeSymlink, 1)
		}), nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newScript()
			s.set(procReadLink, ok(func(e *encoder) { e.bool(false); e.string("x") }))
			f := openScript(t, s, time.Minute)
			f.client.listingSize = 4 << 20
			s.set(c.procedure, c.answer)
			err := useEverything(t.Context(), f)
			require.Error(t, err)
			if c.kind != nil {
				require.ErrorIs(t, err, c.kind)
			}
			if errors.Is(c.kind, ErrProtocol) {
				require.ErrorIs(t, err, remote.ErrUnavailable)
			}
		})
	}
}

// testNames appends a page of READDIR.
func (e *encoder) testNames(last bool, names ...string) {
	e.bool(false)
	e.fixed(make([]byte, 8))
	for i, name := range names {
		e.bool(true)
		e.uint64(uint64(i))
		e.string(name)
		e.uint64(uint64(i + 1))
	}
	e.bool(false)
	e.bool(last)
}

// onlyDots lists the directory itself for ever.
func onlyDots() answerFunc {
	next := uint64(0)
	return func(_ *decoder, e *encoder) fate {
		e.uint32(0)
		e.bool(false)
		e.fixed(make([]byte, 8))
		next++
		e.bool(true)
		e.uint64(next)
		e.string(".")
		e.uint64(next)
		e.bool(false)
		e.bool(false)
		e.bool(false)
		e.bool(false)
		return send
	}
}

// endless lists new names for ever.
func endless() answerFunc {
	next := uint64(0)
	return func(_ *decoder, e *encoder) fate {
		e.uint32(0)
		e.bool(false)
		e.fixed(make([]byte, 8))
		for range 200 {
			next++
			e.bool(true)
			e.uint64(next)
			e.string(fmt.Sprintf("%01000d", next))
			e.uint64(next)
			e.bool(false)
			e.bool(false)
		}
		e.bool(false)
		e.bool(false)
		return send
	}
}

func useEverything(ctx context.Context, f *FS) error {
	_, statErr := f.Stat(ctx, "x")
	file, openErr := f.OpenFile(ctx, "x", os.O_RDWR)
	if openErr != nil {
		return errors.Join(statErr, openErr)
	}
	_, readErr := file.ReadAt(make([]byte, 100), 0)
	if errors.Is(readErr, io.EOF) {
		readErr = nil
	}
	_, writeErr := file.WriteAt(make([]byte, 100), 0)
	var listErr error
	if readErr == nil && writeErr == nil {
		_, listErr = f.client.list(ctx, f.root)
	}
	return errors.Join(statErr, readErr, writeErr, listErr)
}

func TestRefusalsOfTheRPCLayerAreTyped(t *testing.T) {
	for _, c := range []struct {
		what  string
		words []uint32
		kind  error
	}{
		{"not a reply", []uint32{0, 0, 0, 0, 0}, ErrProtocol},
		{"no such program", []uint32{1, 0, 0, 0, 1}, errors.ErrUnsupported},
		{"another version", []uint32{1, 0, 0, 0, 2, 4, 4}, errors.ErrUnsupported},
		{"no such procedure", []uint32{1, 0, 0, 0, 3}, errNotSupp},
		{"garbage", []uint32{1, 0, 0, 0, 4}, os.ErrInvalid},
		{"internal error", []uint32{1, 0, 0, 0, 5}, remote.ErrUnavailable},
		{"no such answer", []uint32{1, 0, 0, 0, 6}, ErrProtocol},
		{"another RPC", []uint32{1, 1, 0, 2, 2}, errors.ErrUnsupported},
		{"bad credential", []uint32{1, 1, 1, 1}, os.ErrPermission},
		{"too weak", []uint32{1, 1, 1, 5}, os.ErrPermission},
		{"a huge verifier", []uint32{1, 0, 0, 1 << 31, 0}, ErrProtocol},
	} {
		e := &encoder{}
		for _, w := range c.words {
			e.uint32(w)
		}
		err := (&decoder{b: e.b}).rpcHeader()
		require.ErrorIs(t, err, c.kind, c.what)
		for n := range len(e.b) - 4 {
			err := (&decoder{b: e.b[:n]}).rpcHeader()
			require.Error(t, err, "%s cut at %d", c.what, n)
		}
	}
}

func TestRecordsAreBoundedAndMayHaveManyFragments(t *testing.T) {
	mark := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	stream := bytes.Join([][]byte{mark(2), {1, 2}, mark(0), mark(3 | lastFragment), {3, 4, 5}, mark(1<<31 - 1 | lastFragment)}, nil)
	r := newRecords(bytes.NewReader(stream))
	require.NoError(t, r.next())
	got, err := r.rest(nil, 5)
	require.NoError(t, err)
	require.Equal(t, []byte{1, 2, 3, 4, 5}, got)
	require.NoError(t, r.next())
	_, err = r.rest(nil, 1<<20)
	require.ErrorIs(t, err, ErrProtocol)

	empty := newRecords(bytes.NewReader(make([]byte, 1<<20)))
	require.NoError(t, empty.next())
	_, err = empty.rest(nil, 100)
	require.ErrorIs(t, err, ErrProtocol)
}
