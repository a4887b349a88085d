package md_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/md"
)

const size = 256 << 10

type options struct {
	level  int32
	events uint64
	own    uint32 // number of the disk
	spare  bool
	flags  uint32
	array  byte
}

// member1 makes a member with a superblock of version 1.x at a place.
func member1(off int64, o options) []byte {
	le := binary.LittleEndian
	b := make([]byte, size)
	start := int64(16)
	if off > size/2 {
		start = 0
	}
	copy(b[start*512:], fmt.Sprintf("content of disk %d", o.own))
	s := b[off:][:256+2*2]
	le.PutUint32(s, 0xA92B4EFC)
	le.PutUint32(s[4:], 1)
	le.PutUint32(s[8:], o.flags)
	s[16] = o.array
	copy(s[32:], "host:0")
	le.PutUint32(s[72:], uint32(o.level))
	le.PutUint64(s[80:], 200)
	le.PutUint32(s[92:], 2)
	le.PutUint64(s[128:], uint64(start))
	le.PutUint64(s[136:], 300)
	le.PutUint64(s[144:], uint64(off/512))
	le.PutUint32(s[160:], o.own)
	le.PutUint64(s[200:], o.events)
	le.PutUint32(s[220:], 2)
	for i := range 2 {
		le.PutUint16(s[256+2*i:], uint16(i))
	}
	if o.spare {
		le.PutUint16(s[256+2*o.own:], 0xFFFF)
	}
	seal(s)
	return b
}

// seal makes the checksum right.
func seal(s []byte) {
	le := binary.LittleEndian
	le.PutUint32(s[216:], 0)
	var sum uint64
	for i := 0; i < len(s); i += 4 {
		sum += uint64(le.Uint32(s[i:]))
	}
	le.PutUint32(s[216:], uint32(sum)+uint32(sum>>32))
}

// member0 makes one of version 0.90.
func member0(o options) []byte {
	le := binary.LittleEndian
	b := make([]byte, size)
	copy(b, fmt.Sprintf("content of disk %d", o.own))
	s := b[size-64<<10:]
	le.PutUint32(s, 0xA92B4EFC)
	le.PutUint32(s[8:], 90)
	s[20] = o.array
	le.PutUint32(s[28:], uint32(o.level))
	le.PutUint32(s[32:], 150)
	le.PutUint32(s[40:], 2)
	le.PutUint64(s[156:], o.events)
	state := uint32(6)
	if o.spare {
		state = 0
	}
	le.PutUint32(s[3984:], state)
	return b
}

func assemble(tb testing.TB, images ...[]byte) []*md.Array {
	tb.Helper()
	var members []*md.Member
	for _, b := range images {
		m, err := md.Read(bytes.NewReader(b), int64(len(b)))
		require.NoError(tb, err)
		members = append(members, m)
	}
	return md.Assemble(members)
}

func TestTheNewestWholeLegIsRead(t *testing.T) {
	newer, older := options{level: 1, events: 8, own: 1}, options{level: 1, events: 7}
	spare := options{level: 1, events: 9, own: 0, spare: true}
	recovering := options{level: 1, events: 9, flags: 2}
	for name, images := range map[string][][]byte{
		"1.2": {member1(4096, older), member1(4096, newer)},
		"1.1": {member1(0, newer), member1(0, older)},
		"1.0": {member1(size-8192, spare), member1(size-8192, newer)},
		"1":   {member1(4096, recovering), member1(4096, newer)},
		"0.9": {member0(older), member0(newer), member0(spare)},
		"one": {member1(4096, newer)},
	} {
		arrays := assemble(t, images...)
		require.Len(t, arrays, 1, name)
		a := arrays[0]
		require.NoError(t, a.Err, name)
		require.Len(t, a.Warnings, len(images)-1)
		require.Equal(t, map[bool]int64{true: 150 << 10, false: 200 * 512}[name == "0.9"], a.Size)
		p := make([]byte, 17)
		_, err := a.ReadAt(p, 0)
		require.NoError(t, err)
		require.Equal(t, "content of disk 1", string(p), name)
		_, err = a.ReadAt(p, a.Size-10)
		require.Error(t, err)
	}
}

func TestOtherLevelsAndLegsThatAreNotWholeSayWhyNot(t *testing.T) {
	for _, level := range []int32{-1, 0, 4, 5, 6, 10} {
		a := assemble(t, member1(4096, options{level: level}))[0]
		require.ErrorIs(t, a.Err, fsys.ErrUnsupported)
		_, err := a.ReadAt(make([]byte, 1), 0)
		require.ErrorIs(t, err, fsys.ErrUnsupported)
	}
	require.ErrorIs(t, assemble(t, member1(4096, options{level: 1, spare: true}))[0].Err, fsys.ErrCorrupt)
	require.Len(t, assemble(t, member1(4096, options{level: 1}), member1(4096, options{level: 1, array: 9})), 2)
}

func TestWhatIsNoMemberIsTold(t *testing.T) {
	for _, n := range []int{0, 512, 4096, size} {
		_, err := md.Read(bytes.NewReader(make([]byte, n)), int64(n))
		require.ErrorIs(t, err, md.ErrNone)
	}
	b := member1(4096, options{level: 1})
	b[4096+72]++
	_, err := md.Read(bytes.NewReader(b), size)
	require.ErrorIs(t, err, fsys.ErrChecksum)
}

func TestAlteredSuperblocksEndInTypedErrors(t *testing.T) {
	for round := range uint64(600) {
		r := rand.New(rand.NewPCG(round, 3))
		b := member1(4096, options{level: 1})
		if round%3 == 0 {
			b = member0(options{level: 1})
		}
		for range 1 + r.IntN(5) {
			b[[]int{4096, size - 64<<10}[min(1, int(round+1)%3/2)]+r.IntN(260)] = byte(r.IntN(256))
		}
		seal(b[4096 : 4096+260])
		check(t, b)
	}
}

func check(tb testing.TB, b []byte) {
	tb.Helper()
	m, err := md.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		if !errors.Is(err, md.ErrNone) && !errors.Is(err, fsys.ErrCorrupt) {
			tb.Fatalf("an error of no kind: %v", err)
		}
		return
	}
	a := md.Assemble([]*md.Member{m})[0]
	if a.Err == nil && (m.Off < 0 || m.Size < 0 || m.Off+m.Size > int64(len(b))) {
		tb.Fatalf("content at %d+%d of %d", m.Off, m.Size, len(b))
	}
	_, _ = a.ReadAt(make([]byte, 100), a.Size/2)
}

func FuzzRead(f *testing.F) {
	f.Add(member1(4096, options{level: 1})[4096:][:260], uint16(0))
	f.Add(member0(options{level: 1})[size-64<<10:][:4096], uint16(1))
	f.Fuzz(func(t *testing.T, superblock []byte, version uint16) {
		if len(superblock) < 260 {
			return
		}
		b := make([]byte, size)
		if version%2 == 0 {
			seal(superblock[:260])
			copy(b[4096:], superblock[:260])
		} else {
			copy(b[size-64<<10:], superblock[:min(4096, len(superblock))])
		}
		check(t, b)
	})
}

func ExampleRead() {
	leg := member1(4096, options{level: 1, events: 5})
	m, err := md.Read(bytes.NewReader(leg), int64(len(leg)))
	if err != nil {
		fmt.Println(err)
		return
	}
	a := md.Assemble([]*md.Member{m})[0]
	p := make([]byte, 7)
	_, err = a.ReadAt(p, 0)
	fmt.Printf("%s of %d disks, %d bytes: %s %v\n", a.Level, m.Disks, a.Size, p, err)
	// Output: raid1 of 2 disks, 102400 bytes: content <nil>
}
