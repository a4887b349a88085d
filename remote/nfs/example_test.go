package nfs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/url"
	"os"

	"github.com/xenbackup/xenbackup/internal/testenv"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/nfs"
)

// serve stands for a NAS: a server on this machine.
func serve() (port int, stop func()) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	port, end, err := testenv.ServeNFS(dir)
	if err != nil {
		log.Fatal(err)
	}
	return port, func() {
		end()
		_ = os.RemoveAll(dir)
	}
}

func ExampleOpen() {
	port, stop := serve()
	defer stop()
	ctx := context.Background()
	fsys, err := nfs.Open(ctx, "localhost", "/export/backups", &nfs.Options{
		Port: port, MountPort: port, // a NAS tells its ports itself
		Credential: &nfs.Credential{UID: uint32(max(os.Getuid(), 0)), GID: 1000},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fsys.Close()
	fmt.Println(remote.WriteFile(ctx, fsys, "point.json", []byte("{}")))
	entries, err := fsys.ReadDir(ctx, ".")
	fmt.Println(entries, err)
	fmt.Println(fsys.Remove(ctx, "none"))
	// Output:
	// <nil>
	// [- point.json] <nil>
	// remove none: no such file or directory
}

// An error says which part of an address is wrong.
func ExampleOpenURL() {
	port, stop := serve()
	defer stop()
	u, err := url.Parse(fmt.Sprintf("nfs://localhost:%d/export/backups?mountport=1", port))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = nfs.OpenURL(context.Background(), u, &remote.Options{})
	var unreachable *remote.UnreachableError
	fmt.Println(errors.As(err, &unreachable), errors.Is(err, remote.ErrUnavailable))
	fmt.Println(unreachable.Part, unreachable.Name)
	// Output:
	// true true
	// host localhost:1
}
