package ext_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
)

// unpacked stands for a disk of a backup: any io.ReaderAt does.
func unpacked(name string) *bytes.Reader {
	packed, err := os.ReadFile(name)
	if err != nil {
		log.Fatal(err)
	}
	r, err := zstd.NewReader(nil)
	if err != nil {
		log.Fatal(err)
	}
	raw, err := r.DecodeAll(packed, nil)
	r.Close()
	if err != nil {
		log.Fatal(err)
	}
	return bytes.NewReader(raw)
}

// A volume is an fs.FS.
func ExampleOpen() {
	disk := unpacked("testdata/ext4.img.zst")
	vol, err := ext.Open(context.Background(), disk, disk.Size(), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(vol.Volume().Type, vol.Volume().Label)
	data, err := fs.ReadFile(vol, "links/first")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", data)
	names, err := fs.Glob(vol, "attr/time-*")
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range names[:2] {
		info, err := vol.Lstat(name)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, info.ModTime())
	}
	// Output:
	// ext4 label
	// hard
	// attr/time-0 1960-01-01 00:00:00.123456789 +0000 UTC
	// attr/time-1 1969-12-31 23:59:59.123456789 +0000 UTC
}

// The disk of a running machine has its newest changes in the journal.
func ExampleFS_Warnings() {
	disk := unpacked("testdata/dirty-v3.img.zst")
	for _, opts := range []*ext.Options{nil, {IgnoreJournal: true}} {
		vol, err := ext.Open(context.Background(), disk, disk.Size(), opts)
		if err != nil {
			log.Fatal(err)
		}
		_, err = vol.Stat("round-5")
		fmt.Println(vol.Warnings()[0].Concern, err)
	}
	// Output:
	// replayed <nil>
	// stale stat round-5: file does not exist
}

// A walk by node sees everything, whatever its name, and resolves no paths.
func ExampleFS_walk() {
	disk := unpacked("testdata/ext4.img.zst")
	vol, err := ext.Open(context.Background(), disk, disk.Size(), nil)
	if err != nil {
		log.Fatal(err)
	}
	files, links := 0, 0
	for item, err := range fsys.Walk(context.Background(), vol, vol.Root(), nil) {
		switch {
		case err != nil:
			fmt.Println("cannot read", item.Path, err)
		case item.Info.Mode.IsRegular():
			files++
		case item.Info.Mode&fs.ModeSymlink != 0:
			links++
		}
	}
	fmt.Println(files, "files,", links, "links")
	// Output: 329 files, 13 links
}
