package catalog_test

import (
	"context"
	"fmt"
	"log"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// Look first, then clean; what is garbage goes when a second clean finds it again.
func ExampleCatalog_Clean() {
	ctx := context.Background()
	fsys := remotetest.NewCrash()                                                        // in memory
	archive := "xo-vm-backups/5f3c3c1e-0000-4000-8000-00000000000a/20260301T010000Z.xva" // without its metadata
	if err := remote.MkdirAll(ctx, fsys, "xo-vm-backups/5f3c3c1e-0000-4000-8000-00000000000a"); err != nil {
		log.Fatal(err)
	}
	if err := remote.WriteFile(ctx, fsys, archive, []byte("left over")); err != nil {
		log.Fatal(err)
	}
	repository, err := catalog.Open(ctx, fsys, nil)
	if err != nil {
		log.Fatal(err)
	}
	planned, err := repository.Clean(ctx, &catalog.CleanAllOptions{DryRun: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(planned[0])
	for range 2 {
		done, err := repository.Clean(ctx, &catalog.CleanAllOptions{VM: &catalog.CleanOptions{NoTrash: true}})
		if err != nil {
			log.Fatal(err)
		}
		for _, f := range done[0].Findings {
			fmt.Println(f.Kind, f.Action, f.Done)
		}
	}
	// Output:
	// xo-vm-backups/5f3c3c1e-0000-4000-8000-00000000000a/20260301T010000Z.xva: valid archive, no point needs it: remember (9 bytes)
	// 5f3c3c1e-0000-4000-8000-00000000000a: 1 findings, 1 to be acted on, 0 bytes to be freed
	// archive remember true
	// archive remove true
}
