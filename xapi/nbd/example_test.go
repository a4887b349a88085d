package nbd_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi/nbd"
)

// A disk is served on one end of a connection and read at the other.
func Example() {
	ctx := context.Background()
	clientEnd, serverEnd := net.Pipe()
	source := newMemory(1 << 20) // any disk.Source: an image, a chain, another client
	server := &nbd.Server{Open: func(context.Context, string) (disk.Source, error) { return source, nil }}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, serverEnd) }()

	client, err := nbd.NewClient(ctx, clientEnd, "root", nil)
	if err != nil {
		log.Fatal(err)
	}
	data := make([]byte, 4096)
	if _, err := client.ReadAtContext(ctx, data, 512); err != nil {
		log.Fatal(err)
	}
	zeros := int64(0)
	for extent, err := range client.Extents(ctx, 0, client.Size()) {
		if err != nil {
			log.Fatal(err)
		}
		if extent.Kind == disk.Zero {
			zeros += extent.Len
		}
	}
	fmt.Println(client.Size(), "bytes,", zeros, "of them zeros")
	fmt.Println(client.Close(), <-served)
	// Output:
	// 1048576 bytes, 524288 of them zeros
	// <nil> <nil>
}
