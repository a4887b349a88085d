package exfat_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/exfat"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
)

// A volume is an fs.FS.
func ExampleOpen() {
	raw, err := testvolume.Unpack("testdata/512.img.zst") // stands for a volume of a disk of a backup
	if err != nil {
		log.Fatal(err)
	}
	vol, err := exfat.Open(context.Background(), bytes.NewReader(raw), int64(len(raw)), nil)
	if err != nil {
		log.Fatal(err)
	}
	info, err := fs.Stat(vol, "NAMES/Lower.Txt")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(vol.Volume().Type, vol.Volume().Label, info.Size(), "bytes")
	// Output: exfat Täst 雪 37 bytes
}

// A volume whose boot region was wiped is read by the backup of it.
func ExampleFS_Warnings() {
	raw, err := testvolume.Unpack("testdata/512.img.zst")
	if err != nil {
		log.Fatal(err)
	}
	clear(raw[:512])
	vol, err := exfat.Open(context.Background(), bytes.NewReader(raw), int64(len(raw)), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(vol.Warnings()[0])
	files := 0
	for item, err := range fsys.Walk(context.Background(), vol, vol.Root(), nil) {
		if err == nil && item.Info.Mode.IsRegular() {
			files++
		}
	}
	fmt.Println(files, "files")
	// Output:
	// damaged: the boot region is damaged; its backup is used
	// 100 files
}
