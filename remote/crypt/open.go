package crypt

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
)

const (
	encryptionFile = "encryption.json"
	probeFile      = "metadata.json"
	identityFile   = ".xenbackup/id" // of remote.Identify: asked for before there is a key
	maxSettings    = 1 << 20
)

// InitOptions configures [Init]. The zero value, and nil, are fine.
type InitOptions struct {
	Algorithm Algorithm // "" is ChaCha20Poly1305
}

// Detect reads which algorithm the repository on fsys is encrypted with; "" when
// it is not.
func Detect(ctx context.Context, fsys remote.Filesystem) (Algorithm, error) {
	data, err := remote.ReadFile(ctx, fsys, encryptionFile, maxSettings)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("crypt: %w", err)
	}
	var settings struct {
		Algorithm *Algorithm `json:"algorithm"`
	}
	if err := json.Unmarshal(data, &settings); err != nil {
		return "", fmt.Errorf("crypt: %s: %w", encryptionFile, err)
	}
	if settings.Algorithm == nil || *settings.Algorithm == "" {
		return "", fmt.Errorf("crypt: %s: it names no algorithm", encryptionFile)
	}
	if *settings.Algorithm == "none" {
		return "", nil
	}
	return *settings.Algorithm, nil
}

// Open decrypts the repository on fsys, which stays the caller's to close, with the
// 32 bytes of key. It writes nothing. A key that does not decrypt metadata.json is
// [ErrKey]; a repository without encryption.json is [ErrNotEncrypted].
func Open(ctx context.Context, fsys remote.Filesystem, key remote.Secret) (*FS, error) {
	a, err := Detect(ctx, fsys)
	if err != nil {
		return nil, err
	}
	if a == "" {
		return nil, ErrNotEncrypted
	}
	s, err := newScheme(a, key)
	if err != nil {
		return nil, err
	}
	f := newFS(fsys, s)
	if err := f.prove(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// prove decrypts metadata.json.
func (f *FS) prove(ctx context.Context) error {
	data, err := remote.ReadFile(ctx, f, probeFile, maxSettings)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrUnfinished
	case errors.Is(err, ErrTampered):
		return fmt.Errorf("%w: it does not decrypt %s (or that file is damaged)", ErrKey, probeFile)
	case err != nil:
		return fmt.Errorf("crypt: %w", err)
	case !json.Valid(data):
		return fmt.Errorf("crypt: %s: decrypted content is not JSON", probeFile)
	}
	return nil
}

// Init begins encryption on a repository that has nothing but files and directories
// whose names begin with a dot, else it is [ErrOccupied]. Interrupted at any moment,
// it can be repeated, with another key too, and keeps the algorithm that it was begun
// with; repeated after it was done it is [Open].
// The key cannot be changed later, and without it all is lost.
func Init(ctx context.Context, fsys remote.Filesystem, key remote.Secret, opts *InitOptions) (*FS, error) {
	a := ChaCha20Poly1305
	if opts != nil && opts.Algorithm != "" {
		a = opts.Algorithm
	}
	if _, err := newScheme(a, key); err != nil {
		return nil, err
	}
	if f, err := Open(ctx, fsys, key); !errors.Is(err, ErrNotEncrypted) && !errors.Is(err, ErrUnfinished) {
		return f, err
	}
	if err := checkEmpty(ctx, fsys); err != nil {
		return nil, err
	}
	a, err := settle(ctx, fsys, a)
	if err != nil {
		return nil, err
	}
	s, err := newScheme(a, key)
	if err != nil {
		return nil, err
	}
	if err := newFS(fsys, s).writeProbe(ctx); err != nil {
		return nil, fmt.Errorf("crypt: %w", err)
	}
	// Whoever was first has won: what is there decides, for us too.
	return Open(ctx, fsys, key)
}

// settle writes which algorithm the repository has, unless somebody else has begun
// with one: then that stays, for metadata.json may be on its way.
func settle(ctx context.Context, fsys remote.Filesystem, a Algorithm) (Algorithm, error) {
	w, err := remote.Create(ctx, fsys, encryptionFile)
	if err != nil {
		return "", fmt.Errorf("crypt: %w", err)
	}
	defer func() { _ = w.Abort() }()
	settings, err := json.Marshal(map[string]Algorithm{"algorithm": a})
	if err != nil {
		return "", err
	}
	if _, err := w.Write(settings); err != nil {
		return "", fmt.Errorf("crypt: %w", err)
	}
	err = w.CommitNew()
	if errors.Is(err, fs.ErrExist) {
		found, detectErr := Detect(ctx, fsys)
		if detectErr != nil || found != "" {
			return found, detectErr
		}
		err = remote.WriteFile(ctx, fsys, encryptionFile, settings) // it said that there is no encryption
	}
	if err != nil {
		return "", fmt.Errorf("crypt: %w", err)
	}
	return a, nil
}

func checkEmpty(ctx context.Context, fsys remote.Filesystem) error {
	entries, err := fsys.ReadDir(ctx, ".")
	if err != nil {
		return fmt.Errorf("crypt: %w", err)
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && name != encryptionFile {
			return fmt.Errorf("%w: it has %q", ErrOccupied, name)
		}
	}
	return nil
}

func (f *FS) writeProbe(ctx context.Context) error {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	w, err := remote.Create(ctx, f, probeFile)
	if err != nil {
		return err
	}
	defer func() { _ = w.Abort() }()
	probe := fmt.Sprintf(`{"random":"%x-%x-%x-%x-%x"}`, id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	if _, err := w.Write([]byte(probe)); err != nil {
		return err
	}
	if err := w.CommitNew(); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
