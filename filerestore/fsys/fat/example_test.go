package fat_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log"
	"time"

	"github.com/xenbackup/xenbackup/filerestore/fsys/fat"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/testvolume"
)

// A volume is an fs.FS. Names are found whatever their case, and by their short
// form too.
func ExampleOpen() {
	raw, err := testvolume.Unpack("testdata/fat12.img.zst") // stands for a volume of a disk of a backup
	if err != nil {
		log.Fatal(err)
	}
	zone := time.FixedZone("CET", 3600) // of the machine that wrote it
	vol, err := fat.Open(context.Background(), bytes.NewReader(raw), int64(len(raw)), &fat.Options{Location: zone})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(vol.Volume().Type, vol.Volume().Label, vol.Volume().UUID)
	for _, name := range []string{"names/13 letters ok", "NAMES/13LETT~1"} {
		info, err := fs.Stat(vol, name)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(info.Size(), info.ModTime())
	}
	// Output:
	// fat12 TEST LABEL 1234-ABCD
	// 629 2031-11-06 10:37:22 +0100 CET
	// 629 2031-11-06 10:37:22 +0100 CET
}

// What the volume admits is a warning, never silence.
func ExampleFS_Warnings() {
	raw, err := testvolume.Unpack("testdata/fat12.img.zst")
	if err != nil {
		log.Fatal(err)
	}
	raw[37] |= 1 // the volume was in use
	vol, err := fat.Open(context.Background(), bytes.NewReader(raw), int64(len(raw)), nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(vol.Warnings()[0])
	// Output: dirty: the volume was in use; what was being written may be incomplete
}
