package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// ErrOtherStorage says that what was opened is not the storage it should be: a disk
// is not mounted, or the URL leads elsewhere.
var ErrOtherStorage = errors.New("remote: not the storage it should be")

const (
	identityDir  = ".xenbackup"
	identityName = identityDir + "/id"
)

// Identify returns the identity of the tree: a random word in the file
// .xenbackup/id, which the first call makes. It is copied with the tree, so that a
// repository moved to another disk stays the same one. Remember it, and have it
// checked with [Options].ID or [CheckIdentity] from then on: then an empty mount
// point, or the wrong share, is never filled with backups.
func Identify(ctx context.Context, fsys Filesystem) (string, error) {
	id, err := readIdentity(ctx, fsys)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if err := MkdirAll(ctx, fsys, identityDir); err != nil {
		return "", err
	}
	w, err := Create(ctx, fsys, identityName)
	if err != nil {
		return "", err
	}
	defer func() { _ = w.Abort() }() // reported by Commit already
	if _, err := w.Write([]byte(rand.Text() + "\n")); err != nil {
		return "", err
	}
	if err := w.CommitNew(); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return readIdentity(ctx, fsys) // ours, or that of who was faster
}

// CheckIdentity returns an [ErrOtherStorage] unless the tree has this identity.
func CheckIdentity(ctx context.Context, fsys Filesystem, id string) error {
	got, err := readIdentity(ctx, fsys)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: no %s in it, is it mounted?", ErrOtherStorage, identityName)
	case err != nil:
		return err
	case got != id:
		return fmt.Errorf("%w: its identity is %.40q, not %.40q", ErrOtherStorage, got, id)
	}
	return nil
}

func readIdentity(ctx context.Context, fsys Filesystem) (string, error) {
	data, err := ReadFile(ctx, fsys, identityName, 1<<10)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(data))
	if id == "" {
		return "", &fs.PathError{Op: "identify", Path: identityName, Err: errors.New("empty file")}
	}
	return id, nil
}
