package crypt_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/local"
)

// A new encrypted repository is begun once; afterwards it opens with its key alone.
func Example() {
	if err := keepSecret(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// for our eyes only: 17 bytes, stored as 45 with chacha20-poly1305
	// crypt: wrong key: it does not decrypt metadata.json (or that file is damaged)
}

func keepSecret(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "repository")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	storage, err := local.Open(dir, nil)
	if err != nil {
		return err
	}
	defer storage.Close()

	const key remote.Secret = "fedcba9876543210fedcba9876543210"
	repository, err := crypt.Init(ctx, storage, key, nil)
	if err != nil {
		return err
	}
	if err := remote.WriteFile(ctx, repository, "note.txt", []byte("for our eyes only")); err != nil {
		return err
	}

	stored, _ := storage.Stat(ctx, "note.txt")
	content, err := remote.ReadFile(ctx, repository, "note.txt", 1<<20)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d bytes, stored as %d with %s\n", content, len(content), stored.Size(), repository.Algorithm())

	_, err = crypt.Open(ctx, storage, "another key of thirty-two bytes.")
	fmt.Println(err)
	return nil
}
