package ext_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
)

// fastArea returns where the fast commits of an image begin.
func fastArea(tb testing.TB, raw []byte) int {
	tb.Helper()
	const blockSize = 1024
	for o := 0; o < len(raw); o += blockSize {
		if bytes.HasPrefix(raw[o:], []byte{9, 0, 8, 0, 0, 0, 0, 0}) {
			return o
		}
	}
	require.Fail(tb, "no fast commits")
	return 0
}

// fastTags calls f with the place and length of the value of each tag from at
// on, and makes the checksums right.
func fastTags(raw []byte, at int, f func(tag uint16, at, n int)) {
	const blockSize = 1024
	le := binary.LittleEndian
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := ^uint32(0) // of the register, inverted
	for b := at; le.Uint16(raw[b:]) != 0; b += blockSize {
		for o := b; o+4 <= b+blockSize; {
			tag, n := le.Uint16(raw[o:]), int(le.Uint16(raw[o+2:]))
			if o+4+n > b+blockSize {
				return
			}
			f(tag, o+4, n)
			if tag == 8 {
				le.PutUint32(raw[o+8:], ^crc32.Update(sum, table, raw[o:o+8]))
				sum = ^uint32(0)
			} else {
				sum = crc32.Update(sum, table, raw[o:o+4+n])
			}
			o += 4 + n
		}
	}
}

// TestFastCommitsThatLieEndInTypedErrors has changes that make no sense, under
// checksums that are right.
func TestFastCommitsThatLieEndInTypedErrors(t *testing.T) {
	original := image(t, "dirty-fast-1k")
	at := fastArea(t, original)
	for round := range 60 {
		raw := bytes.Clone(original)
		r := rand.New(rand.NewPCG(uint64(round), 9))
		fastTags(raw, at, func(tag uint16, at, n int) {
			for range r.IntN(3) {
				if tag < 7 && r.IntN(4) == 0 {
					raw[at+r.IntN(n)] ^= byte(1 + r.IntN(255))
				}
			}
		})
		testvolume.Examine(t, &testvolume.Patched{Raw: raw}, openSmall)
		require.False(t, t.Failed(), "round %d", round)
	}
}

func TestFastCommitsThatAreUnknownAreWarnedOf(t *testing.T) {
	for name, change := range map[string]func(tag uint16, value []byte){
		"feature":    func(tag uint16, v []byte) { v[0] |= map[uint16]byte{9: 4}[tag] },
		"inode":      func(tag uint16, v []byte) { v[3] |= map[uint16]byte{6: 0xFF}[tag] },
		"directory":  func(tag uint16, v []byte) { v[3] |= map[uint16]byte{4: 0xFF}[tag] },
		"block":      func(tag uint16, v []byte) { v[min(15, len(v)-1)] |= map[uint16]byte{1: 0xFF}[tag] },
		"block maps": func(tag uint16, v []byte) { v[min(4+0x22, len(v)-1)] &^= map[uint16]byte{6: 8}[tag] },
	} {
		t.Run(name, func(t *testing.T) {
			raw := image(t, "dirty-fast-1k")
			fastTags(raw, fastArea(t, raw), func(tag uint16, at, n int) { change(tag, raw[at:at+n]) })
			vol, err := ext.Open(t.Context(), bytes.NewReader(raw), int64(len(raw)), nil)
			require.NoError(t, err)
			require.Len(t, vol.Warnings(), 2)
			require.Equal(t, fsys.Stale, vol.Warnings()[1].Concern)
			require.Contains(t, vol.Warnings()[1].Text, "not all fast commits")
		})
	}
}

// TestFastCommitsEndWhereTheirChecksumIsWrong has one that was not written to
// its end.
func TestFastCommitsEndWhereTheirChecksumIsWrong(t *testing.T) {
	raw := image(t, "dirty-fast-1k")
	vol, err := ext.Open(t.Context(), bytes.NewReader(raw), int64(len(raw)), nil)
	require.NoError(t, err)
	_, err = vol.Stat("removed")
	require.ErrorIs(t, err, fs.ErrNotExist)
	first := 0
	fastTags(raw, fastArea(t, raw), func(_ uint16, at, _ int) { first = cmp.Or(first, at) })
	raw[first+20] ^= 1
	vol, err = ext.Open(t.Context(), bytes.NewReader(raw), int64(len(raw)), nil)
	require.NoError(t, err)
	require.Len(t, vol.Warnings(), 1)
	require.NotContains(t, vol.Warnings()[0].Text, "fast commits")
	_, err = vol.Stat("removed")
	require.NoError(t, err)
}

// TestJournalsOfTooManyBlocksAreNotReplayed has one that claims more blocks than
// any mkfs makes.
func TestJournalsOfTooManyBlocksAreNotReplayed(t *testing.T) {
	raw := image(t, "dirty-none")
	at := bytes.Index(raw, []byte("\xc0\x3b\x39\x98\x00\x00\x00\x04"))
	binary.BigEndian.PutUint32(raw[at+0x10:], 1<<25)
	vol, err := ext.Open(t.Context(), bytes.NewReader(raw), int64(len(raw)), nil)
	require.NoError(t, err)
	require.Equal(t, fsys.Stale, vol.Warnings()[0].Concern)
	require.Contains(t, vol.Warnings()[0].Text, fsys.ErrLimit.Error())
}
