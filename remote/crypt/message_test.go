package crypt

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
)

const testKey = "0123456789abcdef0123456789abcdef"

//go:embed testdata/openssl.mjs
var opensslScript []byte

func schemes(tb testing.TB) []*scheme {
	tb.Helper()
	var all []*scheme
	for _, a := range []Algorithm{ChaCha20Poly1305, AES256GCM} {
		s, err := newScheme(a, testKey)
		require.NoError(tb, err)
		all = append(all, s)
	}
	return all
}

// A message made in pieces is the message made at once, in both directions.
func TestMessageInPiecesIsTheMessageAtOnce(t *testing.T) {
	random := mathrand.New(mathrand.NewPCG(1, 2))
	for _, s := range schemes(t) {
		for _, size := range []int{0, 1, 15, 16, 17, 63, 64, 65, 100, 1000, 4096, 70000} {
			nonce := [nonceSize]byte{1, 2, 3, byte(size)}
			content := make([]byte, size)
			_, _ = rand.Read(content)
			want := s.aead.Seal(nil, nonce[:], content, nil)

			sealing, opening := s.message(&nonce), s.message(&nonce)
			got := make([]byte, size)
			back := make([]byte, size)
			for from := 0; from < size; {
				to := min(size, from+1+random.IntN(300))
				sealing.encrypt(got[from:to], content[from:to])
				opening.decrypt(back[from:to], got[from:to])
				from = to
			}
			tag := sealing.tag()
			require.True(t, bytes.Equal(append(got, tag[:]...), want), "%s, %d bytes", s.algorithm, size)
			require.True(t, bytes.Equal(back, content), "%s, %d bytes", s.algorithm, size)
			require.Equal(t, tag, opening.tag(), "%s, %d bytes", s.algorithm, size)

			for range 20 {
				off := random.IntN(size + 1)
				piece := bytes.Clone(want[off : off+random.IntN(size-off+1)])
				s.keystream(&nonce, piece, int64(off))
				require.True(t, bytes.Equal(piece, content[off:off+len(piece)]), "%s at %d of %d", s.algorithm, off, size)
			}
		}
	}
}

// Beyond 256 GiB the counter of chacha20 carries into the nonce, as in OpenSSL.
func TestCounterCarriesAsOpenSSLDoes(t *testing.T) {
	nonce := [nonceSize]byte{0xff, 0xff, 0xff, 0x01, 5, 6, 7, 8, 9, 10, 11, 12}
	const size = 4 * chachaBlock
	script := []byte(`import { createCipheriv } from 'node:crypto'
const [key, iv, size] = process.argv.slice(-3)
console.log(createCipheriv('chacha20', Buffer.from(key), Buffer.from(iv, 'hex')).update(Buffer.alloc(+size)).toString('hex'))
`)
	iv := append([]byte{0xfe, 0xff, 0xff, 0xff}, nonce[:]...) // two blocks before the end
	out, err := testenv.Node(t, script, testKey, hex.EncodeToString(iv), "256")
	require.NoError(t, err, out)
	want := strings.TrimSpace(out)

	got := make([]byte, size)
	chachaFrom([]byte(testKey), &nonce, 0xfffffffe).xor(got, got)
	require.Equal(t, want, hex.EncodeToString(got), "passing the edge")

	got = make([]byte, size-2*chachaBlock)
	chachaFrom([]byte(testKey), &nonce, 1<<32).xor(got, got)
	require.Equal(t, want[4*chachaBlock:], hex.EncodeToString(got), "starting beyond it")

	got = make([]byte, 100)
	chachaAt([]byte(testKey), &nonce, (1<<32-1)*chachaBlock+28).xor(got, got)
	require.Equal(t, want[4*chachaBlock+56:4*chachaBlock+256], hex.EncodeToString(got), "in the middle of a block beyond it")
}

// What we write, Node.js (which Xen Orchestra uses) decrypts, and the other way round.
func TestNodeReadsWhatIsWrittenHereAndWritesWhatIsReadHere(t *testing.T) {
	content := make([]byte, 9<<20+5)
	_, _ = rand.Read(content)
	for _, a := range []Algorithm{ChaCha20Poly1305, AES256GCM} {
		for _, size := range []int{100, len(content)} {
			f := newRepository(t, a)
			writeFile(t, f, "ours", content[:size], 1<<20)

			theirs, plain := filepath.Join(f.dir, "theirs"), filepath.Join(t.TempDir(), "plain")
			out, err := testenv.Node(t, opensslScript, string(a), testKey, filepath.Join(f.dir, "ours"), plain, theirs)
			require.NoError(t, err, out)
			got, err := os.ReadFile(plain)
			require.NoError(t, err)
			require.True(t, bytes.Equal(got, content[:size]), "%s, %d bytes: what Node.js decrypted", a, size)
			require.True(t, bytes.Equal(readFile(t, f, "theirs"), content[:size]), "%s, %d bytes: what Node.js encrypted", a, size)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte("some content"), uint16(3))
	f.Fuzz(func(t *testing.T, content []byte, cut uint16) {
		for _, s := range schemes(t) {
			var nonce [nonceSize]byte
			m := s.message(&nonce)
			at := min(int(cut), len(content))
			got := make([]byte, len(content))
			m.encrypt(got[:at], content[:at])
			m.encrypt(got[at:], content[at:])
			tag := m.tag()
			require.Equal(t, s.aead.Seal(nil, nonce[:], content, nil), append(got, tag[:]...))
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	buf := make([]byte, 1<<20)
	for _, s := range schemes(b) {
		b.Run(string(s.algorithm)+"/in passing", func(b *testing.B) {
			b.SetBytes(int64(len(buf)))
			var nonce [nonceSize]byte
			m := s.message(&nonce)
			for b.Loop() {
				m.encrypt(buf, buf)
			}
		})
		b.Run(string(s.algorithm)+"/at once", func(b *testing.B) {
			b.SetBytes(int64(len(buf)))
			var nonce [nonceSize]byte
			out := make([]byte, 0, len(buf)+tagSize)
			for b.Loop() {
				s.aead.Seal(out, nonce[:], buf, nil)
			}
		})
	}
}
