package catalog_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/xva"
)

func TestArchivesOfXenOrchestraReadToWhatTheyWere(t *testing.T) {
	plain := testenv.Golden(t)
	encrypted := testenv.GoldenEncrypted(t)
	for _, tt := range []struct {
		repo  *testenv.Repository
		key   remote.Secret
		proof string
	}{{plain, "", "md5"}, {encrypted, testenv.GoldenKey, "tag"}} {
		c, err := catalog.Open(t.Context(), localFS(t, tt.repo.Dir), &catalog.Options{Key: tt.key})
		require.NoError(t, err)
		kinds := map[xva.Compression]int{}
		for id, backup := range tt.repo.Backups {
			p, err := c.Point(t.Context(), id)
			require.NoError(t, err)
			if backup.Mode != catalog.ModeFull {
				_, err := c.OpenArchive(t.Context(), p)
				require.ErrorIs(t, err, fs.ErrNotExist)
				continue
			}
			a, err := c.OpenArchive(t.Context(), p)
			require.NoError(t, err)
			require.Equal(t, backup.XVA.Size, a.Size())
			require.Equal(t, tt.proof, a.Proof())
			kinds[a.Compression()]++
			h := sha256.New()
			n, err := io.Copy(h, a)
			require.NoError(t, err)
			require.Equal(t, a.Size(), n)
			require.Equal(t, backup.XVA.SHA256, hex.EncodeToString(h.Sum(nil)), id)
			require.NoError(t, a.Confirm(t.Context()))
			require.NoError(t, a.Close())
			_, err = a.Read(make([]byte, 1))
			require.ErrorIs(t, err, fs.ErrClosed)
		}
		require.Equal(t, map[xva.Compression]int{xva.None: 1, xva.Gzip: 1}, kinds)
	}
}

// archivePoint puts a full backup with this archive on fsys.
func archivePoint(t *testing.T, fsys remote.Filesystem, content []byte, checksum string) *catalog.Point {
	t.Helper()
	require.NoError(t, remote.MkdirAll(t.Context(), fsys, testVMDir))
	name := strings.TrimSuffix(pointName(1), ".json") + ".xva"
	require.NoError(t, remote.WriteFile(t.Context(), fsys, name, content))
	if checksum != "" {
		require.NoError(t, remote.WriteFile(t.Context(), fsys, name+".checksum", []byte(checksum)))
	}
	return &catalog.Point{ID: pointName(1), Metadata: catalog.Metadata{
		Mode: catalog.ModeFull, XVA: "./" + dates(1)[0] + ".xva", Size: int64(len(content)),
	}}
}

func md5Of(content []byte) string { return fmt.Sprintf("$1$$%x", md5.Sum(content)) }

func TestArchivesOfAnyLengthAreStreams(t *testing.T) {
	for _, size := range []int{0, 1, 3, 4, 5, 1000, 1<<20 - 1, 1 << 20, 1<<20 + 1, 1<<20 + 3, 1<<20 + 4, 2 << 20, 3<<20 + 17} {
		content := bytes.Repeat([]byte("archive"), size/7+1)[:size]
		fsys := remotetest.NewCrash()
		p := archivePoint(t, fsys, content, md5Of(content))
		a, err := openCatalog(t, fsys).OpenArchive(t.Context(), p)
		require.NoError(t, err, size)
		require.NoError(t, iotest.TestReader(a, content), size)
		require.NoError(t, a.Close())
	}
}

// A pool completes a VM when it has the end of the archive, so that is what must not
// come before the proof.
func TestDamagedArchiveIsNeverReadToItsEnd(t *testing.T) {
	content := bytes.Repeat([]byte("archive"), 1<<19) // 3.5 MiB
	for name, spoil := range map[string]func(fsys remote.Filesystem, file string){
		"the first byte": func(fsys remote.Filesystem, file string) { overwrite(t, fsys, file, 0, []byte("x")) },
		"the last byte": func(fsys remote.Filesystem, file string) {
			overwrite(t, fsys, file, int64(len(content))-1, []byte("x"))
		},
		"the checksum": func(fsys remote.Filesystem, file string) {
			require.NoError(t, remote.WriteFile(t.Context(), fsys, file+".checksum", []byte("$1$$00000000000000000000000000000000")))
		},
	} {
		fsys := remotetest.NewCrash()
		p := archivePoint(t, fsys, content, md5Of(content))
		spoil(fsys, strings.TrimSuffix(p.ID, ".json")+".xva")
		a, err := openCatalog(t, fsys).OpenArchive(t.Context(), p)
		require.NoError(t, err, name)
		got, err := io.ReadAll(a)
		require.ErrorIs(t, err, catalog.ErrDamaged, name)
		require.LessOrEqual(t, len(got), len(content)-1<<20, name)
		_, err = a.Read(make([]byte, 1))
		require.ErrorIs(t, err, catalog.ErrDamaged, "for good")
		require.NoError(t, a.Close())
	}
}

func TestArchiveOfAnotherLengthIsRefused(t *testing.T) {
	content := []byte(strings.Repeat("archive", 1000))
	for _, length := range []int64{0, 1, 6999} {
		fsys := remotetest.NewCrash()
		p := archivePoint(t, fsys, content, "")
		truncate(t, fsys, strings.TrimSuffix(p.ID, ".json")+".xva", length)
		_, err := openCatalog(t, fsys).OpenArchive(t.Context(), p)
		require.ErrorIs(t, err, catalog.ErrDamaged, "%d bytes", length)
		p.Metadata.Size = 0 // as old metadata may be
		a, err := openCatalog(t, fsys).OpenArchive(t.Context(), p)
		require.NoError(t, err)
		require.NoError(t, a.Close())
	}
}

func TestChecksumsThatSayNothingAreNotUsed(t *testing.T) {
	content := []byte("archive")
	for _, checksum := range []string{
		"", "\n", "$1$$", "$1$salt$" + hex.EncodeToString(make([]byte, 16)), "$2$$00", "$1$$zz", md5Of(content)[:20], strings.Repeat("x", 4096),
	} {
		fsys := remotetest.NewCrash()
		p := archivePoint(t, fsys, content, checksum)
		a, err := openCatalog(t, fsys).OpenArchive(t.Context(), p)
		require.NoError(t, err, "%q", checksum)
		require.Empty(t, a.Proof(), "%q", checksum)
		require.NoError(t, iotest.TestReader(a, content))
		require.NoError(t, a.Close())
	}
}

func TestDamagedEncryptedArchiveIsNeverReadToItsEnd(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	content := bytes.Repeat([]byte("archive"), 3<<18) // 5.25 MiB
	for _, algorithm := range []crypt.Algorithm{crypt.ChaCha20Poly1305, crypt.AES256GCM} {
		fsys := remotetest.NewCrash()
		crypted, err := crypt.Init(t.Context(), fsys, key, &crypt.InitOptions{Algorithm: algorithm})
		require.NoError(t, err)
		p := archivePoint(t, crypted, content, md5Of(nil)) // of the stored bytes, as old ones are
		file := strings.TrimSuffix(p.ID, ".json") + ".xva"
		c, err := catalog.Open(t.Context(), fsys, &catalog.Options{Key: key})
		require.NoError(t, err)
		a, err := c.OpenArchive(t.Context(), p)
		require.NoError(t, err)
		require.NoError(t, iotest.TestReader(a, content))
		require.NoError(t, a.Close())

		overwrite(t, fsys, file, 100, []byte("x"))
		a, err = c.OpenArchive(t.Context(), p)
		require.NoError(t, err)
		got, err := io.ReadAll(a)
		require.ErrorIs(t, err, crypt.ErrTampered)
		require.LessOrEqual(t, len(got), len(content)-1<<20)
		require.NoError(t, a.Close())
	}
}

func TestArchivePathStaysInsideTheVM(t *testing.T) {
	fsys := remotetest.NewCrash()
	p := archivePoint(t, fsys, []byte("archive"), "")
	for _, name := range []string{"../x.xva", "/etc/passwd", "..", ".", `..\x.xva`, "a\x00.xva", "vdis/../../x.xva"} {
		p.Metadata.XVA = name
		_, err := openCatalog(t, fsys).OpenArchive(t.Context(), p)
		require.ErrorIs(t, err, catalog.ErrOutside, "%q", name)
	}
	p.Metadata.XVA = "./nowhere.xva"
	_, err := openCatalog(t, fsys).OpenArchive(t.Context(), p)
	require.ErrorIs(t, err, fs.ErrNotExist)
}
