package xva_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xva"
)

// A VM with one disk of 3 MiB, of which only the beginning holds data, becomes an archive. Its length is known before.
func ExampleWrite() {
	ova := &xva.OVA{
		Version: xva.Version{XapiMajor: 1, XapiMinor: 20, ExportVSN: 2},
		Objects: []xva.Object{
			{Class: "VM", ID: "Ref:0", Snapshot: map[string]any{"name_label": "web"}},
			{Class: "VDI", ID: "Ref:1", Snapshot: map[string]any{"virtual_size": 3 << 20, "type": "user"}},
			{Class: "VBD", ID: "Ref:2", Snapshot: map[string]any{"VM": "Ref:0", "VDI": "Ref:1", "type": "Disk"}},
		},
	}
	disks := map[string]disk.Source{"Ref:1": sparse(3<<20, 0)}
	ctx := context.Background()

	size, err := xva.Size(ctx, ova, disks, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	var out bytes.Buffer
	if err := xva.Write(ctx, &out, ova, disks, nil); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(size == int64(out.Len()), size)
	// Output: true 2103808
}

// Next returns the chunks that are there, verified; io.EOF proves that the archive is complete.
func ExampleReader() {
	archive := bytes.NewReader(write(panicking{}, map[string]memory{"Ref:12": sparse(3<<20, 0, 1<<20)}, nil))

	r, err := xva.NewReader(archive, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	for vm := range r.OVA().OfClass("VM") {
		fmt.Println(vm.Text("name_label"), r.Compression(), r.Disks())
	}
	for {
		chunk, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(chunk.Disk.ID, chunk.Off, len(chunk.Data))
	}
	fmt.Println("complete")
	// Output:
	// web none [{Ref:12 3145728}]
	// Ref:12 0 1048576
	// Ref:12 1048576 1048576
	// Ref:12 2097152 1048576
	// complete
}

// panicking is a test that must not fail.
type panicking struct{}

func (panicking) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (panicking) FailNow()                          { panic("failed") }
