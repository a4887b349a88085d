package xapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xva"
)

// A whole VM becomes a file, and the file a VM again.
func ExampleClient_ExportVM() {
	ctx := context.Background()
	pool, client, done := dial(ctx)
	defer done()
	file, err := os.CreateTemp("", "*.xva")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(file.Name())
	defer file.Close()

	size, err := exportVM(ctx, client, xapi.Ref[xapi.VM](pool.VM("web").Ref), file)
	if err != nil {
		fmt.Println(err)
		return
	}
	vms, err := client.ImportVM(ctx, size, io.NewSectionReader(file, 0, size), nil)
	fmt.Println(len(vms), err)
	// Output: 1 <nil>
}

// exportVM writes the archive of a VM to file and returns its size, once it is proven complete.
func exportVM(ctx context.Context, client *xapi.Client, vm xapi.Ref[xapi.VM], file io.WriteSeeker) (int64, error) {
	download, err := client.ExportVM(ctx, vm, &xapi.ExportVMOptions{Compression: xapi.CompressZstd})
	if err != nil {
		return 0, err
	}
	defer download.Close()
	archive, err := xva.NewReader(io.TeeReader(download, file), nil)
	if err != nil {
		return 0, err
	}
	defer archive.Close()
	for {
		_, err := archive.Next()
		if errors.Is(err, io.EOF) { // the structure is complete
			break
		}
		if err != nil {
			return 0, err
		}
	}
	if err := download.Finish(ctx); err != nil { // and the pool agrees
		return 0, err
	}
	return file.Seek(0, io.SeekCurrent)
}
