package xva

import (
	"archive/tar"
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the standard library takes for the header of a file is one here, of the same name and size; and what is written is read.
func FuzzHeader(f *testing.F) {
	var b [blockSize]byte
	putHeader(b[:], "Ref:1/00000000", ChunkSize, time.Unix(0, 0))
	f.Add(b[:])
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatGNU} {
		var out bytes.Buffer
		for _, h := range []tar.Header{
			{Name: "Ref:1/00000000.checksum", Size: 40, Mode: 0o400, Uname: "root", ModTime: time.Unix(1e9, 0)},
			{Name: "a/very/long/directory/that/does/not/fit/into/the/name/field/of/a/header/so/that/a/prefix/is/needed/00000000.checksum", Size: 40},
			{Name: "large", Size: 1 << 34},
			{Name: "directory/", Typeflag: tar.TypeDir},
		} {
			h.Format = format
			out.Reset()
			if err := tar.NewWriter(&out).WriteHeader(&h); err == nil && out.Len() == blockSize {
				f.Add(bytes.Clone(out.Bytes()))
			}
		}
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		if len(block) != blockSize || bytes.Equal(block, make([]byte, blockSize)) {
			return
		}
		got, err := parseHeader((*[blockSize]byte)(block))
		want, errTar := tar.NewReader(bytes.NewReader(block)).Next()
		if errTar == nil && want.Typeflag == tar.TypeReg && block[offType] != tar.TypeLink && !strings.HasSuffix(want.Name, "/") {
			if block[offType] == typeFile || block[offType] == typeFileV7 {
				require.NoError(t, err)
				require.Equal(t, want.Size, got.size)
				require.Equal(t, want.Name, string(got.name))
			}
		}
		if err != nil {
			require.True(t, errors.Is(err, ErrHeader) || errors.Is(err, ErrMember))
			return
		}
		if len(got.name) < nameSize && got.size < 1<<33 {
			var again [blockSize]byte
			putHeader(again[:], got.name, got.size, time.Unix(0, 0))
			same, err := parseHeader(&again)
			require.NoError(t, err)
			require.Equal(t, got.size, same.size)
			require.Equal(t, string(got.name), string(same.name))
		}
	})
}

func TestNumbersInHeaders(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]int64{
		"00000000017\x00": 15, "         17 ": 15, "17\x00garbage": 15, "": 0, "\x00\x00": 0, "   ": 0,
		"777777777777": 1<<36 - 1,
		"\x80\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00": 1 << 33,
		"\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff": math.MaxInt64,
	} {
		block := [lenSize]byte{}
		copy(block[:], field)
		n, err := parseNumber(block[:])
		require.NoError(t, err, "%q", field)
		require.Equal(t, want, n, "%q", field)
	}
	for _, field := range []string{
		"8", "-1", "1 1", "0x1", "+1",
		"\x80\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		block := [lenSize]byte{}
		copy(block[:], field)
		_, err := parseNumber(block[:])
		require.Error(t, err, "%q", field)
	}
	_, err := parseOctal([]byte("7777777777777777777777"))
	require.Error(t, err)
	n, err := parseOctal([]byte("777777777777777777777"))
	require.NoError(t, err)
	require.EqualValues(t, math.MaxInt64, n)
}
