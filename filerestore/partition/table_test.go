package partition_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/partition"
)

// image is one that testdata/make.sh of package filerestore made.
func image(tb testing.TB, name string) []byte {
	tb.Helper()
	packed, err := os.ReadFile(filepath.Join("testdata", name+".img.zst"))
	require.NoError(tb, err)
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	require.NoError(tb, err)
	defer r.Close()
	raw, err := r.DecodeAll(packed, nil)
	require.NoError(tb, err)
	return raw
}

func read(tb testing.TB, raw []byte) (*partition.Table, error) {
	tb.Helper()
	return partition.Read(bytes.NewReader(raw), int64(len(raw)), nil)
}

// layout is what the tests compare.
func layout(t *partition.Table) (list []string) {
	for _, p := range t.Partitions {
		list = append(list, fmt.Sprintf("%d: %d+%d %s %q", p.Number, p.Off/512, p.Size/512, p.Type, p.Name))
	}
	return list
}

func TestTablesReadAsTheirToolsShowThem(t *testing.T) {
	gpt := []string{
		`1: 2048+2048 c12a7328-f81f-11d2-ba4b-00a0c93ec93b "EFI System"`,
		`2: 4096+4096 0fc63daf-8483-4772-8e79-3d69d8477de4 "données"`,
		`7: 8192+2048 e6d6d379-f507-44c2-a23c-238f2a3df928 ""`,
		`128: 10240+6111 0657fd6d-a4ab-43c4-84e5-0933c84b4f4f ""`,
	}
	for name, want := range map[string][]string{
		"gpt": gpt, "gpt-backup": gpt, "gpt-grown": gpt, "gpt-grown-backup": gpt,
		"gpt-4k": {
			`1: 2048+2048 0fc63daf-8483-4772-8e79-3d69d8477de4 "first"`,
			`2: 4096+12248 0fc63daf-8483-4772-8e79-3d69d8477de4 "second"`,
		},
		"mbr":    {`1: 2048+2048 0x83 ""`, `5: 5120+1024 0x83 ""`, `6: 7168+1024 0x82 ""`, `7: 10240+2048 0x8e ""`},
		"parted": {`1: 2048+2048 0x83 ""`, `5: 6144+2048 0x83 ""`, `6: 10240+2048 0x83 ""`},
	} {
		t.Run(name, func(t *testing.T) {
			table, err := read(t, image(t, name))
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(want, layout(table)))
			if damaged := name == "gpt-backup" || name == "gpt-grown-backup"; damaged {
				require.Len(t, table.Warnings, 1)
			} else {
				require.Empty(t, table.Warnings)
			}
		})
	}
	table, err := read(t, image(t, "gpt"))
	require.NoError(t, err)
	require.Equal(t, "11111111-2222-3333-4444-555555555555", table.ID)
	table, err = read(t, image(t, "mbr"))
	require.NoError(t, err)
	require.Equal(t, "deadbeef", table.ID)
}

func TestDisksWithoutATableHaveNone(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 4096, 1 << 20} {
		_, err := read(t, make([]byte, size))
		require.ErrorIs(t, err, partition.ErrNone, size)
	}
	for _, oem := range []string{"NTFS    ", "EXFAT   "} {
		raw := bytes.Clone(image(t, "mbr")[:1<<20])
		copy(raw[3:], oem)
		_, err := read(t, raw)
		require.ErrorIs(t, err, partition.ErrNone)
	}
	raw := image(t, "mbr")
	raw[446+16] = 'x' // no boot flag: the text of a boot sector
	_, err := read(t, raw)
	require.ErrorIs(t, err, partition.ErrNone)
}

func TestGPTWithoutAWholeCopyIsCorrupt(t *testing.T) {
	raw := image(t, "gpt")
	raw[512+60] ^= 1
	raw[len(raw)-512+60] ^= 1
	_, err := read(t, raw)
	require.ErrorIs(t, err, fsys.ErrChecksum)
	clear(raw[:512]) // and nothing says that there is one
	_, err = read(t, raw)
	require.ErrorIs(t, err, partition.ErrNone)
}

// entry writes an entry of an MBR.
func entry(raw []byte, sector int64, slot int, kind byte, start, sectors uint32) {
	e := raw[sector*512+446+16*int64(slot):]
	e[4] = kind
	binary.LittleEndian.PutUint32(e[8:], start)
	binary.LittleEndian.PutUint32(e[12:], sectors)
	copy(raw[sector*512+510:], "\x55\xAA")
}

func TestChainsOfLogicalPartitionsEnd(t *testing.T) {
	raw := make([]byte, 1<<20)
	entry(raw, 0, 0, 0x83, 1, 10)
	entry(raw, 0, 1, 0x05, 100, 1000)
	entry(raw, 100, 0, 0x83, 2, 10)
	entry(raw, 100, 1, 0x05, 50, 20)
	entry(raw, 150, 0, 0x83, 2, 10)
	entry(raw, 150, 1, 0x05, 0, 20) // back to the first
	table, err := read(t, raw)
	require.NoError(t, err)
	require.Equal(t, []string{`1: 1+10 0x83 ""`, `5: 102+10 0x83 ""`, `6: 152+10 0x83 ""`}, layout(table))
	require.Len(t, table.Warnings, 1)

	entry(raw, 150, 1, 0x05, 5000, 20) // out of the container, and of the disk
	table, err = read(t, raw)
	require.NoError(t, err)
	require.Len(t, table.Partitions, 3)
	require.Len(t, table.Warnings, 1)
}

func TestPartitionsAreCutAtTheEndOfTheDisk(t *testing.T) {
	raw := make([]byte, 1<<20)
	entry(raw, 0, 0, 0x83, 2000, 1<<31)
	entry(raw, 0, 1, 0x83, 1<<31, 1)
	entry(raw, 0, 2, 0x83, 0, 1<<32-1) // all of it, itself included
	table, err := read(t, raw)
	require.NoError(t, err)
	require.Equal(t, []string{`1: 2000+48 0x83 ""`, `3: 0+2048 0x83 ""`}, layout(table))
	require.Len(t, table.Warnings, 3)
}

func TestErrorsOfTheDiskAreNotAnAnswer(t *testing.T) {
	broken := errors.New("broken")
	_, err := partition.Read(failing{broken}, 1<<20, nil)
	require.ErrorIs(t, err, broken)
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

// check reads a damaged disk: it must not fail in an unknown way, and all that it says
// lies inside of the disk.
func check(tb testing.TB, raw []byte) {
	tb.Helper()
	table, err := read(tb, raw)
	if err != nil {
		if !errors.Is(err, partition.ErrNone) && !errors.Is(err, fsys.ErrCorrupt) {
			tb.Fatalf("an error of no kind: %v", err)
		}
		return
	}
	for _, p := range table.Partitions {
		if p.Off < 0 || p.Size < 0 || p.Off+p.Size > int64(len(raw)) {
			tb.Fatalf("partition %d at %d+%d of %d", p.Number, p.Off, p.Size, len(raw))
		}
	}
}

func TestDamagedTablesEndInTypedErrors(t *testing.T) {
	for _, name := range []string{"gpt", "gpt-4k", "mbr", "parted"} {
		raw := image(t, name)
		var sectors []int
		for s := range len(raw) / 512 {
			if !bytes.Equal(raw[s*512:][:512], make([]byte, 512)) {
				sectors = append(sectors, s)
			}
		}
		for round := range 150 {
			r := rand.New(rand.NewPCG(uint64(round), 1))
			damaged := map[int]byte{}
			for range 1 + r.IntN(8) {
				at := sectors[r.IntN(len(sectors))]*512 + r.IntN(512)
				damaged[at] = raw[at]
				raw[at] ^= byte(1 + r.IntN(255))
			}
			if round%2 == 0 { // with checksums that are right
				seal(raw, 512)
			}
			check(t, raw)
			for at, b := range damaged {
				raw[at] = b
			}
			seal(raw, 512)
		}
	}
}

// seal makes the checksum of a GPT's header right.
func seal(raw []byte, at int) {
	h := raw[at : at+92]
	if string(h[:8]) != "EFI PART" {
		return
	}
	clear(h[16:20])
	binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h))
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"gpt", "mbr"} {
		f.Add(image(f, name)[:64<<10], true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, sealed bool) {
		if sealed && len(raw) > 1024 {
			seal(raw, 512)
		}
		check(t, raw)
	})
}
