package vhd_test

import (
	"bytes"
	"context"
	"fmt"
	"log"

	"github.com/xenbackup/xenbackup/vhd"
)

// A chain is opened by the name of its youngest image, a file or an alias of a disk
// that XO keeps as a directory. Parents are found beside it.
func ExampleOpenDirChain() {
	root, remove := exampleDir()
	defer remove()
	chain, err := vhd.OpenDirChain(context.Background(), vhd.OSDir(root), "wednesday.vhd", nil)
	if err != nil {
		log.Panic(err)
	}
	defer chain.Close()
	fmt.Println(len(chain.Links()), "images")
	p := make([]byte, 16)
	if _, err := chain.ReadAt(p, 2<<20); err != nil {
		log.Panic(err)
	}
	fmt.Printf("%s\n", bytes.TrimRight(p, "\x00"))
	// Output:
	// 3 images
	// monday.vhd
}

// What changed since an older point of the chain is what a copy of that needs.
func ExampleDiff() {
	root, remove := exampleDir()
	defer remove()
	ctx := context.Background()
	monday, err := vhd.OpenDirChain(ctx, vhd.OSDir(root), "monday.vhd", nil)
	if err != nil {
		log.Panic(err)
	}
	defer monday.Close()
	wednesday, err := vhd.OpenDirChain(ctx, vhd.OSDir(root), "wednesday.vhd", nil)
	if err != nil {
		log.Panic(err)
	}
	defer wednesday.Close()
	for extent, err := range vhd.Diff(ctx, monday, wednesday) {
		if err != nil {
			log.Panic(err)
		}
		fmt.Println(extent.Kind, extent.Off>>20, "MiB:", extent.Len>>20, "MiB")
	}
	// Output:
	// data 0 MiB: 2 MiB
	// data 4 MiB: 4 MiB
}
