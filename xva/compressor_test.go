package xva_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/xva"
)

// mixed is text, noise and zeros, in runs of many lengths.
func mixed(n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	out := make([]byte, 0, n+1<<18)
	for len(out) < n {
		switch run := rng.IntN(1 << 18); rng.IntN(3) {
		case 0:
			out = append(out, noise(run, byte(run))...)
		case 1:
			out = append(out, make([]byte, run)...)
		default:
			for end := len(out) + run; len(out) < end; {
				out = fmt.Appendf(out, "line %d of %d\n", len(out), run)
			}
		}
	}
	return out[:n]
}

func TestCompressedStreamIsWhatWasWrittenWhateverItsLength(t *testing.T) {
	t.Parallel()
	const piece = 1 << 20
	for _, n := range []int{0, 1, piece - 1, piece, piece + 1, 4*piece + 12345} {
		plain := mixed(n)
		for _, kind := range []xva.Compression{xva.Gzip, xva.Zstd} {
			var out bytes.Buffer
			w, err := xva.NewCompressor(&out, kind)
			require.NoError(t, err)
			for rest := plain; len(rest) > 0; {
				part := rest[:min(len(rest), 777777)]
				_, err := w.Write(part)
				require.NoError(t, err)
				rest = rest[len(part):]
			}
			require.NoError(t, w.Close())
			require.NoError(t, w.Close())
			_, err = w.Write([]byte("x"))
			require.Error(t, err)
			require.Equal(t, kind, xva.Sniff(out.Bytes()))
			var r io.Reader
			if kind == xva.Gzip {
				z, err := gzip.NewReader(&out) // the standard library's
				require.NoError(t, err)
				z.Multistream(false)
				r = z
			} else {
				z, err := zstd.NewReader(&out)
				require.NoError(t, err)
				defer z.Close()
				r = z
			}
			got, err := io.ReadAll(r)
			require.NoError(t, err, "%s of %d bytes", kind, n)
			require.True(t, bytes.Equal(plain, got), "%s of %d bytes", kind, n)
			if kind == xva.Gzip {
				require.Zero(t, out.Len(), "one member")
			}
		}
	}
	_, err := xva.NewCompressor(io.Discard, 9)
	require.Error(t, err)
}

func TestOtherProgramsDecompressWhatIsWritten(t *testing.T) {
	t.Parallel()
	plain := mixed(3 << 20)
	for kind, program := range map[xva.Compression]string{xva.Gzip: "gzip", xva.Zstd: "zstd"} {
		bin := testenv.Require(t, program)
		file := filepath.Join(t.TempDir(), "packed")
		require.NoError(t, os.WriteFile(file, compress(t, plain, kind), 0o600))
		out := filepath.Join(t.TempDir(), "plain")
		run(t, ".", "sh", "-c", `"$0" -d -c <"$1" >"$2"`, bin, file, out)
		got, err := os.ReadFile(out)
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, got), program)
	}
}

func TestEveryFailedWriteOfACompressorIsReported(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left")
	plain := mixed(4 << 20)
	for _, kind := range []xva.Compression{xva.None, xva.Gzip, xva.Zstd} {
		size := len(compress(t, plain, kind))
		for n := 0; n < size; n += size/3 + 1 {
			w, err := xva.NewCompressor(&limited{left: n, err: full}, kind)
			require.NoError(t, err)
			_, err = io.Copy(w, bytes.NewReader(plain))
			require.ErrorIs(t, errors.Join(err, w.Close()), full)
		}
	}
}
