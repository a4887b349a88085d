package crypt

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

const otherKey = "ffffffffffffffffffffffffffffffff"

// Each file of a repository that Xen Orchestra encrypted can be decrypted.
func TestGoldenRepositoryIsDecrypted(t *testing.T) {
	golden := testenv.GoldenEncrypted(t)
	f, err := Open(t.Context(), openLocal(t, golden.Dir), testenv.GoldenKey)
	require.NoError(t, err)
	require.Equal(t, ChaCha20Poly1305, f.Algorithm())
	files := 0
	require.NoError(t, fs.WalkDir(os.DirFS(golden.Dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		data := readFile(t, f, name)
		info, err := f.Stat(t.Context(), name)
		require.NoError(t, err)
		require.EqualValues(t, info.Size(), len(data))
		if strings.HasSuffix(name, ".json") {
			require.True(t, json.Valid(data), name)
		}
		return nil
	}))
	require.Greater(t, files, 50)
}

func TestOnlyTheKeyOfTheRepositoryOpensIt(t *testing.T) {
	f := newRepository(t, ChaCha20Poly1305)
	fsys := openLocal(t, f.dir)
	_, err := Open(t.Context(), fsys, otherKey)
	require.ErrorIs(t, err, ErrKey)
	require.NotContains(t, err.Error(), otherKey)
	_, err = Open(t.Context(), fsys, "short")
	require.ErrorIs(t, err, ErrKey)
	_, err = Init(t.Context(), fsys, otherKey, nil)
	require.ErrorIs(t, err, ErrKey, "a wrong key begins nothing over what is there")
	_, err = Open(t.Context(), fsys, testKey)
	require.NoError(t, err)

	_, err = Open(t.Context(), openLocal(t, t.TempDir()), testKey)
	require.ErrorIs(t, err, ErrNotEncrypted)
}

func TestInitNeedsAnEmptyRepository(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".hidden"), nil, 0o600))
	_, err := Init(t.Context(), openLocal(t, dir), testKey, nil)
	require.NoError(t, err)

	dir = t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "xo-vm-backups"), 0o700))
	_, err = Init(t.Context(), openLocal(t, dir), testKey, nil)
	require.ErrorIs(t, err, ErrOccupied)
	require.NoFileExists(t, filepath.Join(dir, encryptionFile))
}

func TestTheIdentityIsTheSameBelowEncryption(t *testing.T) {
	f := newRepository(t, ChaCha20Poly1305)
	id, err := remote.Identify(t.Context(), f)
	require.NoError(t, err)
	require.NoError(t, remote.CheckIdentity(t.Context(), f.below, id), "an Opener checks it before anything is decrypted")
}

func TestSettingsThatAreNotUnderstoodAreRefused(t *testing.T) {
	for content, want := range map[string]string{
		`{`:                     "encryption.json",
		`{}`:                    "no algorithm",
		`{"algorithm":"rot13"}`: `"rot13" is not known`,
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, encryptionFile), []byte(content), 0o600))
		_, err := Open(t.Context(), openLocal(t, dir), testKey)
		require.ErrorContains(t, err, want)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, encryptionFile), []byte(`{"algorithm":"none"}`), 0o600))
	_, err := Open(t.Context(), openLocal(t, dir), testKey)
	require.ErrorIs(t, err, ErrNotEncrypted)
	require.NoError(t, os.WriteFile(filepath.Join(dir, encryptionFile), []byte(`{"algorithm":"aes-256-gcm"}`), 0o600))
	_, err = Open(t.Context(), openLocal(t, dir), testKey)
	require.ErrorIs(t, err, ErrUnfinished)
}

// Init that dies at any operation can be repeated, and never leaves a repository
// that another key opens.
func TestInitCanBeRepeatedAfterAnyInterruption(t *testing.T) {
	for n := 1; ; n++ {
		fsys := openLocal(t, t.TempDir())
		faulty := remotetest.NewFaulty(fsys)
		faulty.FailFrom(n, remote.ErrUnavailable)
		_, err := Init(t.Context(), faulty, testKey, nil)
		if err == nil {
			require.Greater(t, n, 10)
			return
		}
		f, err := Init(t.Context(), fsys, testKey, nil)
		require.NoError(t, err, "after operation %d", n)
		require.NoError(t, remote.WriteFile(t.Context(), f, "x", []byte("y")))
		_, err = Init(t.Context(), fsys, otherKey, nil)
		require.ErrorIs(t, err, ErrKey)
	}
}

// Of two that begin with different algorithms, or one after the other's
// interruption, both mean the one that encryption.json names.
func TestInitKeepsTheAlgorithmThatWasBegunWith(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, encryptionFile), []byte(`{"algorithm":"aes-256-gcm"}`), 0o600))
	f, err := Init(t.Context(), openLocal(t, dir), testKey, &InitOptions{Algorithm: ChaCha20Poly1305})
	require.NoError(t, err)
	require.Equal(t, AES256GCM, f.Algorithm())

	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, encryptionFile), []byte(`{"algorithm":"none"}`), 0o600))
	f, err = Init(t.Context(), openLocal(t, dir), testKey, nil)
	require.NoError(t, err)
	require.Equal(t, ChaCha20Poly1305, f.Algorithm())
}
