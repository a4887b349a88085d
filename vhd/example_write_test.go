package vhd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"

	"github.com/xenbackup/xenbackup/vhd"
)

func ExampleCreate() {
	dir, err := os.MkdirTemp("", "vhd-example-")
	if err != nil {
		log.Panic(err)
	}
	defer os.RemoveAll(dir)
	f, err := os.Create(filepath.Join(dir, "disk.vhd"))
	if err != nil {
		log.Panic(err)
	}
	defer f.Close()
	w, err := vhd.Create(f, vhd.Layout{Type: vhd.Dynamic, Size: 64 << 20, UUID: vhd.UUID{1}})
	if err != nil {
		log.Panic(err)
	}
	if _, err := w.WriteAt([]byte("hello"), 40<<20); err != nil {
		log.Panic(err)
	}
	if err := w.Sync(); err != nil { // from here on a crash does not lose it
		log.Panic(err)
	}
	if err := w.Resize(1 << 30); err != nil {
		log.Panic(err)
	}
	if err := w.Close(); err != nil {
		log.Panic(err)
	}
	info, err := f.Stat()
	if err != nil {
		log.Panic(err)
	}
	image, err := vhd.Open(f, info.Size(), nil)
	if err != nil {
		log.Panic(err)
	}
	p := make([]byte, 5)
	if _, err := image.ReadAt(p, 40<<20); err != nil {
		log.Panic(err)
	}
	fmt.Printf("%s, %d of %d MiB in %d block\n", p, info.Size()>>20, image.Size()>>20, image.Allocated())
	// Output: hello, 4 of 1024 MiB in 1 block
}

// A snapshot is a new image on top of one that is not written any more.
func ExampleCreate_snapshot() {
	root, remove := exampleDir()
	defer remove()
	parent, err := open(root, "wednesday.vhd")
	if err != nil {
		log.Panic(err)
	}
	f, err := root.Create("thursday.vhd")
	if err != nil {
		log.Panic(err)
	}
	defer f.Close()
	w, err := vhd.Create(f, vhd.Layout{
		Type: vhd.Differencing, Size: parent.Size(), UUID: vhd.UUID{4}, ParentUUID: parent.UUID(), ParentName: "wednesday.vhd",
	})
	if err != nil {
		log.Panic(err)
	}
	sector := make([]byte, 512)
	copy(sector, "thursday")
	if _, err = w.WriteAt(sector, 2<<20); err != nil {
		log.Panic(err)
	}
	if err := w.Close(); err != nil {
		log.Panic(err)
	}
	chain, err := vhd.OpenDirChain(context.Background(), vhd.OSDir(root), "thursday.vhd", nil)
	if err != nil {
		log.Panic(err)
	}
	defer chain.Close()
	for block := range chain.Blocks() {
		p := make([]byte, 8)
		if _, err := chain.ReadAt(p, int64(block)*chain.BlockSize()); err != nil {
			log.Panic(err)
		}
		fmt.Printf("%s\n", p)
	}
	// Output:
	// wednesda
	// thursday
	// tuesday.
	// wednesda
}

func ExampleFlatten() {
	root, remove := exampleDir()
	defer remove()
	chain, err := vhd.OpenDirChain(context.Background(), vhd.OSDir(root), "wednesday.vhd", nil)
	if err != nil {
		log.Panic(err)
	}
	defer chain.Close()
	for _, name := range []string{"full.vhd", "full.raw"} {
		f, err := root.Create(name)
		if err != nil {
			log.Panic(err)
		}
		var result vhd.CopyResult
		if name == "full.vhd" {
			result, err = vhd.Flatten(context.Background(), f, chain, vhd.Layout{Type: vhd.Dynamic, UUID: vhd.UUID{9}}, nil)
		} else {
			result, err = vhd.FlattenRaw(context.Background(), f, chain, nil)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			log.Panic(err)
		}
		fmt.Println(name, len(result.Blocks), "blocks,", result.Size, "bytes")
	}
	// Output:
	// full.vhd 4 blocks, 8405504 bytes
	// full.raw 4 blocks, 8388608 bytes
}

func ExampleFlattenDirectory() {
	root, remove := exampleDir()
	defer remove()
	dir := vhd.OSDir(root).(vhd.DirMaker)
	ctx := context.Background()
	chain, err := vhd.OpenDirChain(ctx, dir, "wednesday.vhd", nil)
	if err != nil {
		log.Panic(err)
	}
	defer chain.Close()
	l := vhd.Layout{Type: vhd.Dynamic, UUID: vhd.UUID{9}}
	if err := vhd.FlattenDirectory(ctx, dir, "data/full.vhd", chain, l, vhd.FilterBrotli, nil); err != nil {
		log.Panic(err)
	}
	if err := vhd.WriteAlias(ctx, dir, "full.alias.vhd", "data/full.vhd"); err != nil { // from here on it is there
		log.Panic(err)
	}
	image, err := vhd.OpenDirectory(ctx, dir, "full.alias.vhd")
	if err != nil {
		log.Panic(err)
	}
	defer image.Close()
	fmt.Println(image.Type(), image.Allocated(), "blocks")
	// Output: dynamic 4 blocks
}

// The kernel sends the blocks from the files to the socket.
func ExampleExport_WriteTo() {
	root, remove := exampleDir()
	defer remove()
	ctx := context.Background()
	chain, err := vhd.OpenDirChain(ctx, vhd.OSDir(root), "wednesday.vhd", nil)
	if err != nil {
		log.Panic(err)
	}
	defer chain.Close()
	blocks, err := vhd.DataBlocks(ctx, chain)
	if err != nil {
		log.Panic(err)
	}
	l := vhd.Layout{Type: vhd.Dynamic, Size: chain.Size(), UUID: vhd.UUID{9}, Blocks: blocks, Profile: vhd.Host}
	export, err := vhd.NewExport(ctx, chain, l)
	if err != nil {
		log.Panic(err)
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		log.Panic(err)
	}
	defer listener.Close()
	received := make(chan int64)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			log.Panic(err)
		}
		n, _ := io.Copy(io.Discard, conn)
		received <- n
	}()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", listener.Addr().String())
	if err != nil {
		log.Panic(err)
	}
	n, err := export.WriteTo(conn)
	if err = errors.Join(err, conn.Close()); err != nil {
		log.Panic(err)
	}
	fmt.Println(n == export.Size(), <-received == n)
	// Output: true true
}
