package xva_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/xenbackup/xenbackup/vhd"
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

// A disk of an archive in a file becomes a VHD stream, as a host imports it, of known length.
func ExampleOpen() {
	file := bytes.NewReader(write(panicking{}, map[string]memory{"Ref:12": sparse(8<<20, 0, 5<<20)}, nil))
	ctx := context.Background()

	archive, err := xva.Open(ctx, file, file.Size(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, image := range archive.Images() {
		blocks, err := vhd.DataBlocks(ctx, image)
		if err != nil {
			fmt.Println(err)
			return
		}
		export, err := vhd.NewExport(ctx, image, vhd.Layout{
			Type: vhd.Dynamic, Size: image.Size(), UUID: vhd.UUID{1}, Blocks: blocks, Profile: vhd.Host,
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		sent, err := io.Copy(io.Discard, export)
		fmt.Println(image.ID(), blocks, sent == export.Size(), err)
	}
	// Output: Ref:12 [0 2 3] true <nil>
}

// The disks of an archive become sparse files, however it is compressed.
func ExampleReader_CopyTo() {
	archive := bytes.NewReader(write(panicking{}, map[string]memory{"Ref:12": sparse(3<<20, 0), "Ref:7": sparse(5<<20, 4<<20)}, nil))
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	r, err := xva.NewReader(archive, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	var files []*os.File
	err = r.CopyTo(context.Background(), func(d xva.Disk) (io.WriterAt, error) {
		f, err := os.Create(filepath.Join(dir, strings.TrimPrefix(d.ID, "Ref:")+".raw"))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
		return f, f.Truncate(d.Size)
	})
	for _, f := range files {
		err = errors.Join(err, f.Sync(), f.Close())
	}
	fmt.Println(len(files), err)
	// Output: 2 <nil>
}

// An archive that must not be read twice goes to its destination and is proven at the same time.
func ExampleProof() {
	stream := bytes.NewReader(write(panicking{}, map[string]memory{"Ref:12": sparse(3<<20, 0)}, nil))
	destination := io.Discard

	proof := xva.NewProof()
	defer proof.Abort()
	if _, err := io.Copy(io.MultiWriter(destination, proof), stream); err != nil {
		fmt.Println(err)
		return
	}
	if err := proof.Close(); err != nil {
		fmt.Println("not an archive to keep:", err)
		return
	}
	fmt.Println("complete,", proof.Stats().Chunks, "chunks")
	// Output: complete, 2 chunks
}

// panicking is a test that must not fail.
type panicking struct{}

func (panicking) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (panicking) FailNow()                          { panic("failed") }
