package xva_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xva"
)

// ways to read a whole archive; each ends with the verdict on it.
func ways(t *testing.T) map[string]func(raw []byte) error {
	t.Helper()
	stream := func(read func(r *xva.Reader) error) func([]byte) error {
		return func(raw []byte) error {
			r, err := xva.NewReader(bytes.NewReader(raw), nil)
			if err != nil {
				return err
			}
			defer func() { _ = r.Close() }()
			return read(r)
		}
	}
	return map[string]func(raw []byte) error{
		"Next": func(raw []byte) error {
			_, _, err := read(bytes.NewReader(raw), nil)
			return err
		},
		"CopyTo": stream(func(r *xva.Reader) error {
			return r.CopyTo(t.Context(), func(xva.Disk) (io.WriterAt, error) { return nil, nil })
		}),
		"NextDisk": stream(func(r *xva.Reader) error {
			for {
				if _, err := r.NextDisk(); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
			}
		}),
		"Proof": func(raw []byte) error {
			p := xva.NewProof()
			_, _ = io.Copy(p, bytes.NewReader(raw)) // Close says it
			return p.Close()
		},
		"Open": func(raw []byte) error {
			a, err := xva.Open(t.Context(), bytes.NewReader(raw), int64(len(raw)), nil)
			if err != nil {
				return err
			}
			for _, m := range a.Images() {
				if _, err := m.ReadAt(make([]byte, m.Size()), 0); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// pieces is an archive of two disks in chunks of 8 KiB, with a gap and a keepalive, and the offsets of its members.
func pieces(t *testing.T) (raw []byte, members []int64) {
	t.Helper()
	const k = 8 << 10
	files := join(
		[]file{described(t, map[string]int64{"Ref:1": 4 * k, "Ref:2": 2*k + 100})},
		chunk("Ref:1/00000000", string(noise(k, 1))), chunk("Ref:1/00000002", string(noise(k, 2))), chunk("Ref:1/00000003", ""),
		chunk("Ref:1/00000004", string(noise(k, 3))),
		chunk("Ref:2/00000000", string(noise(k, 4))), chunk("Ref:2/00000001", string(noise(k, 5))), chunk("Ref:2/00000002", string(noise(100, 6))),
	)
	off := int64(0)
	for _, f := range files {
		members = append(members, off)
		off += 512 + int64(len(f.content)+511)/512*512
	}
	return archive(t, tar.FormatUSTAR, files...), append(members, off)
}

func TestArchiveCutAtAnyMemberAndAtRandomIsNeverWhole(t *testing.T) {
	t.Parallel()
	raw, members := pieces(t)
	end := members[len(members)-1] + 1024
	cuts := members
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 / stride {
		cuts = append(cuts, rng.Int64N(end))
	}
	for name, verdict := range ways(t) {
		require.NoError(t, verdict(raw), name)
		require.NoError(t, verdict(raw[:end]), name)
		for _, n := range cuts {
			err := verdict(raw[:n])
			require.ErrorIs(t, err, xva.ErrTruncated, "%s of %d bytes", name, n)
			var where *xva.FormatError
			require.ErrorAs(t, err, &where)
			require.LessOrEqual(t, where.Off, n)
		}
	}
}

// Members that are gone, twice, or exchanged with their neighbours make no archive that reads well and has other content.
func TestMembersOutOfOrderAreRefusedByEveryWay(t *testing.T) {
	t.Parallel()
	raw, members := pieces(t)
	member := func(i int) []byte { return raw[members[i]:members[i+1]] }
	rest := raw[members[len(members)-1]:]
	build := func(order []int) []byte {
		var out []byte
		for _, i := range order {
			out = append(out, member(i)...)
		}
		return append(out, rest...)
	}
	for name, verdict := range ways(t) {
		for i := range len(members) - 1 {
			var gone, twice, exchanged []int
			for j := range len(members) - 1 {
				twice = append(twice, j)
				if j != i {
					gone = append(gone, j)
				} else {
					twice = append(twice, j)
				}
				exchanged = append(exchanged, j)
			}
			if i+2 < len(members) {
				exchanged[i], exchanged[i+1] = i+1, i
				require.Error(t, verdict(build(exchanged)), "%s: %d exchanged", name, i)
			}
			require.Error(t, verdict(build(gone)), "%s: %d gone", name, i)
			require.Error(t, verdict(build(twice)), "%s: %d twice", name, i)
		}
	}
}

func TestWrongContentIsFoundByEveryWay(t *testing.T) {
	t.Parallel()
	raw, members := pieces(t)
	for name, verdict := range ways(t) {
		for i := 1; i < len(members)-1; i++ {
			bad := bytes.Clone(raw)
			if members[i+1]-members[i] == 512 { // a keepalive has no content
				continue
			}
			bad[members[i]+512+7] ^= 1
			err := verdict(bad)
			require.ErrorIs(t, err, xva.ErrChecksum, "%s: member %d", name, i)
			var where *xva.FormatError
			require.ErrorAs(t, err, &where)
			require.Equal(t, members[i-(i+1)%2], where.Off, "%s: member %d", name, i)
		}
	}
}

func TestProofEndsWithoutAVerdictWhenItIsAborted(t *testing.T) {
	t.Parallel()
	raw, _ := pieces(t)
	for _, n := range []int{0, 100, 20_000, len(raw)} {
		p := xva.NewProof()
		_, err := p.Write(raw[:n])
		require.NoError(t, err)
		p.Abort()
		p.Abort()
		require.Error(t, p.Close())
	}
	p := xva.NewProof()
	_, err := io.Copy(p, io.MultiReader(strings.NewReader("<html>"), &endlessZeros{n: 1 << 20}))
	require.ErrorIs(t, err, xva.ErrNotXVA)
	require.ErrorIs(t, p.Close(), xva.ErrNotXVA)

	p = xva.NewProof()
	_, err = io.Copy(p, bytes.NewReader(compress(t, raw, xva.Zstd)))
	require.NoError(t, err)
	require.Nil(t, p.OVA())
	require.NoError(t, p.Close())
	p.Abort()
	require.Equal(t, xva.Zstd, p.Compression())
	require.EqualValues(t, 6, p.Stats().Chunks)
	require.Len(t, p.OVA().Objects, 2)
}

// endlessZeros reads as n zeros.
type endlessZeros struct{ n int }

func (e *endlessZeros) Read(p []byte) (int, error) {
	if e.n == 0 {
		return 0, io.EOF
	}
	n := min(len(p), e.n)
	clear(p[:n])
	e.n -= n
	return n, nil
}

// crowd is an archive of very many members that is made while it is read, at any place: one disk, in chunks of so few bytes that
// a million of them are no burden, every second one left out.
type crowd struct {
	head   []byte
	chunks int64
	first  [crowdMember]byte
}

const crowdMember = 512 + 512 + 512 + 512 // of a chunk and its checksum, with their headers

func newCrowd(t *testing.T, chunks int64) *crowd {
	t.Helper()
	head := archive(t, tar.FormatUSTAR, described(t, map[string]int64{"Ref:1": (2*chunks - 1) * 512}))
	c := &crowd{head: head[:len(head)-1024], chunks: chunks}
	v7(c.first[:512], "Ref:1/00000000", 512)
	v7(c.first[1024:1536], "Ref:1/00000000.checksum", 40)
	copy(c.first[1536:], sumOfZeros)
	return c
}

func (c *crowd) size() int64 { return int64(len(c.head)) + c.chunks*crowdMember + 1024 }

func (c *crowd) ReadAt(p []byte, off int64) (n int, err error) {
	if off >= c.size() {
		return 0, io.EOF
	}
	var member [crowdMember]byte
	for n < len(p) && off < c.size() {
		var from []byte
		switch i := (off - int64(len(c.head))) / crowdMember; {
		case off < int64(len(c.head)):
			from = c.head[off:]
		case i >= c.chunks:
			from = make([]byte, c.size()-off)
		default:
			c.member(&member, 2*i)
			from = member[(off-int64(len(c.head)))%crowdMember:]
		}
		k := copy(p[n:], from)
		n, off = n+k, off+int64(k)
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// sumOfZeros is that of a chunk of 512 zeros.
const sumOfZeros = "5c3eb80066420002bc3dcc7ca4ab6efad7ed4ae5"

// member makes one; only its number is new.
func (c *crowd) member(b *[crowdMember]byte, number int64) {
	*b = c.first
	for _, header := range [][]byte{b[:512], b[1024:1536]} {
		sum := int64(0)
		for n, at := number, len("Ref:1/")+7; n > 0; n, at = n/10, at-1 {
			header[at] += byte(n % 10)
			sum += n % 10
		}
		for at := 153; sum > 0; at-- { // octal addition
			sum += int64(header[at] - '0')
			header[at] = '0' + byte(sum&7)
			sum >>= 3
		}
	}
}

// v7 writes a header of tar's oldest form.
func v7(b []byte, name string, size int) {
	copy(b, name)
	copy(b[124:], fmt.Sprintf("%011o", size))
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00", sum))
}

// Not parallel: it counts the bytes that the process holds.
func TestAMillionMembersAreReadInBoundedMemory(t *testing.T) {
	const chunks = 250_000 / stride // a chunk and a checksum are two members, and it is read twice
	c := newCrowd(t, chunks)
	before := heap()
	r, err := xva.NewReader(io.NewSectionReader(c, 0, c.size()), nil)
	require.NoError(t, err)
	for err == nil {
		_, err = r.Next()
	}
	require.ErrorIs(t, err, io.EOF)
	require.EqualValues(t, chunks, r.Stats().Chunks)
	require.EqualValues(t, chunks-1, r.Stats().Gaps)
	require.Less(t, heap()-before, int64(4<<20))
	a, err := xva.Open(t.Context(), c, c.size(), nil)
	require.NoError(t, err)
	require.Less(t, heap()-before, int64(chunks*40*3+4<<20)) // no two chunks are neighbours: the worst case
	_, err = a.Image("Ref:1").ReadAt(make([]byte, 4096), 4096)
	require.NoError(t, err)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
