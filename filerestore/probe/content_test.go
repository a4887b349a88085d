package probe_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/probe"
)

// image is the start of one that testdata/make.sh of package filerestore made.
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

func detect(tb testing.TB, raw []byte) probe.Content {
	tb.Helper()
	c, err := probe.Detect(bytes.NewReader(raw), int64(len(raw)))
	require.NoError(tb, err)
	return c
}

func TestVolumesOfRealToolsAreKnown(t *testing.T) {
	uuid := func(n int) string { return fmt.Sprintf("%08d-1111-2222-3333-444444444444", n) }
	for name, want := range map[string]probe.Content{
		"luks1": {Kind: probe.Encrypted, Family: "luks", Type: "crypto_LUKS", UUID: uuid(1)},
		"luks2": {Kind: probe.Encrypted, Family: "luks", Type: "crypto_LUKS", UUID: uuid(2)},
		"swap":  {Kind: probe.Swap, Family: "swap", Type: "swap", Label: "swapped", UUID: uuid(3)},
		"xfs":   {Kind: probe.Files, Family: "xfs", Type: "xfs", Label: "label", UUID: uuid(4)},
		"btrfs": {Kind: probe.Files, Family: "btrfs", Type: "btrfs", Label: "label", UUID: uuid(5)},
		"f2fs":  {Kind: probe.Files, Family: "f2fs", Type: "f2fs", Label: "label", UUID: uuid(6)},
		"ntfs":  {Kind: probe.Files, Family: "ntfs", Type: "ntfs"},
		"fat32": {Kind: probe.Files, Family: "fat", Type: "vfat", Label: "LABEL", UUID: "1234-5678"},
		"fat12": {Kind: probe.Files, Family: "fat", Type: "vfat", UUID: "1234-5678"},
		"ext2":  {Kind: probe.Files, Family: "ext", Type: "ext2", Label: "label", UUID: uuid(7)},
		"ext3":  {Kind: probe.Files, Family: "ext", Type: "ext3", Label: "label", UUID: uuid(7)},
		"ext4":  {Kind: probe.Files, Family: "ext", Type: "ext4", Label: "label", UUID: uuid(7)},
	} {
		got := detect(t, image(t, name))
		require.NotEmpty(t, got.Title)
		got.Title = ""
		if name == "ntfs" {
			require.Len(t, got.UUID, 16)
			got.UUID = ""
		}
		require.Empty(t, cmp.Diff(want, got), name)
	}
}

func TestNumbersTellOtherContents(t *testing.T) {
	for family, put := range map[string]map[int]string{
		"bitlocker":      {3: "-FVE-FS-"},
		"refs":           {3: "ReFS\x00\x00\x00\x00"},
		"zfs":            {16 << 10: "\x01\x01\x00\x00", 20 << 10: "pool_guid"},
		"apfs":           {32: "NXSB"},
		"ldm":            {6 * 512: "PRIVHEAD"},
		"vmfs":           {1 << 20: "\x0D\xD0\x01\xC0"},
		"bcache":         {4096 + 24: "\xC6\x85\x73\xF6\x4E\x1A\x45\xCA\x82\x65\xF5\x7F\x48\xBA\x6D\x81"},
		"vdo":            {0: "dmvdo001"},
		"storage-spaces": {4096: "SPACEDB "},
		"hfs":            {1024: "H+\x00\x04"},
		"jbd":            {1024 + 0x38: "\x53\xEF", 1024 + 0x60: "\x08"},
		"exfat":          {3: "EXFAT   ", 108: "\x09"},
	} {
		raw := make([]byte, 2<<20)
		for off, s := range put {
			copy(raw[off:], s)
		}
		require.Equal(t, family, detect(t, raw).Family)
	}
}

func TestNothingAndTheUnknownAreTold(t *testing.T) {
	require.Equal(t, probe.Empty, detect(t, make([]byte, 1<<20)).Kind)
	require.Equal(t, probe.Unknown, detect(t, bytes.Repeat([]byte("text"), 1<<18)).Kind)
	require.Equal(t, probe.Empty, detect(t, nil).Kind)
}

func TestVolumesCutAtAnyLengthAreReadWithinBounds(t *testing.T) {
	for _, name := range []string{"ext4", "xfs", "btrfs", "f2fs", "fat32", "luks2", "swap"} {
		raw := image(t, name)
		for n := 0; n < len(raw); n += 1 + n/50 {
			detect(t, raw[:n])
		}
	}
}

func TestErrorsOfTheDiskAreReturned(t *testing.T) {
	broken := errors.New("broken")
	_, err := probe.Detect(failing{broken}, 1<<20)
	require.ErrorIs(t, err, broken)
}

type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }

func FuzzDetect(f *testing.F) {
	for _, name := range []string{"ext4", "ntfs", "fat32", "swap", "f2fs"} {
		f.Add(image(f, name)[:16<<10])
	}
	f.Fuzz(func(t *testing.T, raw []byte) { detect(t, raw) })
}

func ExampleDetect() {
	volume := make([]byte, 1<<20)
	copy(volume, "LUKS\xBA\xBE")
	content, err := probe.Detect(bytes.NewReader(volume), int64(len(volume)))
	fmt.Println(content.Type, content.Kind == probe.Encrypted, err)
	// Output: crypto_LUKS true <nil>
}
