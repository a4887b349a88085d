package sample_test

import (
	"context"
	"fmt"
	"os"

	"github.com/xenbackup/xenbackup/examples/internal/sample"
)

func ExampleWrite() {
	dir, err := os.MkdirTemp("", "sample-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	fmt.Println(sample.Write(context.Background(), dir, make([]byte, 4<<20)))
	// Output: xo-vm-backups/5f3c3c1e-0000-4000-8000-00000000000a/20260301T000000Z.json <nil>
}
