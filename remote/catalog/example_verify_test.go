package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"time"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// Every byte is compared with what was written; here one has changed since. The
// report is a line of JSON per point.
func ExampleCatalog_Verify() {
	ctx := context.Background()
	fsys := remotetest.NewCrash()
	c, err := catalog.Open(ctx, fsys, nil)
	if err != nil {
		log.Fatal(err)
	}
	point, err := writeExample(ctx, c, time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC))
	if err != nil {
		log.Fatal(err)
	}
	for v, err := range c.Verify(ctx, &catalog.VerifyOptions{Level: catalog.VerifyData}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(v.Verdict, "with evidence:", v.Evidence)
	}

	disk := "xo-vm-backups/" + exampleVM + "/" + c.Disks(point)[0].Path
	f, err := fsys.OpenFile(ctx, disk, os.O_RDWR)
	if err != nil {
		log.Fatal(err)
	}
	_, err = f.WriteAt([]byte{'?'}, 1<<20)
	if err := errors.Join(err, f.Close()); err != nil {
		log.Fatal(err)
	}
	for v, err := range c.Verify(ctx, &catalog.VerifyOptions{Level: catalog.VerifyData}) {
		if err != nil {
			log.Fatal(err)
		}
		line, err := json.Marshal(v.Findings)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(v.Verdict, string(line))
	}
	// Output:
	// valid with evidence: complete
	// corrupt [{"file":"xo-vm-backups/7c1b6a52-2a0f-4d0e-9f3e-1d5a4c6b8e21/vdis/nightly-job/0b6f5c7e-5d2b-4f0a-8a49-3f1f9f0c2d11/20260301T020000Z.vhd","verdict":"corrupt","block":1,"offset":4096,"reason":"it is not what was written"}]
}

// Whoever reads for long makes sure that nobody deletes or merges meanwhile.
func ExampleCatalog_Lease() {
	ctx := context.Background()
	c, err := exampleCatalog(ctx)
	if err != nil {
		log.Fatal(err)
	}
	point, err := writeExample(ctx, c, time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC))
	if err != nil {
		log.Fatal(err)
	}
	lease, err := c.Lease(ctx, point.ID)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Println("deleted before anything was read: take another point")
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	disk, err := c.OpenDisk(ctx, point, "OpaqueRef:1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(disk.Size(), "bytes that stay as they are")
	if err := errors.Join(disk.Confirm(ctx), disk.Close(), lease.Release(ctx)); err != nil {
		log.Fatal(err)
	}
	// Output: 8388608 bytes that stay as they are
}
