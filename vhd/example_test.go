package vhd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// exampleDir makes a directory with a full image and two children of it, and
// returns it with a function that removes it.
func exampleDir() (*os.Root, func()) {
	dir, err := os.MkdirTemp("", "vhd-example-")
	if err != nil {
		log.Panic(err)
	}
	parent := ""
	for i, name := range []string{"monday.vhd", "tuesday.vhd", "wednesday.vhd"} {
		l := vhd.Layout{Type: vhd.Dynamic, Size: 8 << 20, UUID: vhd.UUID{byte(i + 1)}, Blocks: []uint32{0, uint32(i + 1)}}
		if parent != "" {
			l.Type, l.ParentUUID, l.ParentName = vhd.Differencing, vhd.UUID{byte(i)}, parent
		}
		var file bytes.Buffer
		w, err := vhd.NewStreamWriter(&file, l)
		for _, block := range l.Blocks {
			if err == nil {
				err = w.WriteBlock(block, []byte(name))
			}
		}
		if err = errors.Join(err, w.Close(), os.WriteFile(filepath.Join(dir, name), file.Bytes(), 0o600)); err != nil {
			log.Panic(err)
		}
		parent = name
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		log.Panic(err)
	}
	return root, func() {
		_ = root.Close()
		_ = os.RemoveAll(dir)
	}
}

// open opens an image of a directory; the examples leave the file open.
func open(root *os.Root, name string) (*vhd.Image, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return vhd.Open(f, info.Size(), &vhd.OpenOptions{Name: name})
}

func ExampleOpen() {
	root, remove := exampleDir()
	defer remove()
	image, err := open(root, "monday.vhd")
	if err != nil {
		log.Panic(err)
	}
	fmt.Println(image.Type(), image.Size(), image.Footer().Geometry)
	p := make([]byte, 6)
	if _, err := image.ReadAt(p, 2<<20); err != nil {
		log.Panic(err)
	}
	fmt.Printf("%s\n", p)
	// Output:
	// dynamic 8388608 240/4/17
	// monday
}

func ExampleOpenChain() {
	root, remove := exampleDir()
	defer remove()
	leaf, err := open(root, "wednesday.vhd")
	if err != nil {
		log.Panic(err)
	}
	// Names come from the file: root keeps them inside its directory.
	parent := func(_ context.Context, _ *vhd.Image, ref vhd.ParentRef) (*vhd.Image, error) {
		for _, name := range ref.Names {
			if image, err := open(root, name); err == nil && image.UUID() == ref.UUID {
				return image, nil
			}
		}
		return nil, vhd.ErrParentNotFound
	}
	chain, err := vhd.OpenChain(context.Background(), leaf, parent, nil)
	if err != nil {
		log.Panic(err)
	}
	for block := range chain.Blocks() {
		p := make([]byte, 16)
		if _, err := chain.ReadAt(p, int64(block)*chain.BlockSize()); err != nil {
			log.Panic(err)
		}
		fmt.Printf("%d %s\n", block, bytes.TrimRight(p, "\x00"))
	}
	// Output:
	// 0 wednesday.vhd
	// 1 monday.vhd
	// 2 tuesday.vhd
	// 3 wednesday.vhd
}

func ExampleNewStreamWriter() {
	var out bytes.Buffer
	l := vhd.Layout{Type: vhd.Dynamic, Size: 8 << 20, UUID: vhd.UUID{1}, Blocks: []uint32{1}, Profile: vhd.Host}
	w, err := vhd.NewStreamWriter(&out, l)
	if err != nil {
		log.Panic(err)
	}
	fmt.Println("announced:", w.Size())
	if err := w.WriteBlock(1, make([]byte, disk.BlockSize)); err != nil {
		log.Panic(err)
	}
	if err := w.Close(); err != nil {
		log.Panic(err)
	}
	fmt.Println("written:  ", out.Len())
	// Output:
	// announced: 2100736
	// written:   2100736
}

func ExampleNewStreamReader() {
	root, remove := exampleDir()
	defer remove()
	f, err := root.Open("tuesday.vhd")
	if err != nil {
		log.Panic(err)
	}
	defer f.Close()
	r, err := vhd.NewStreamReader(f)
	if err != nil {
		log.Panic(err)
	}
	fmt.Println(r.Type(), r.Size(), r.Blocks())
	for buf := make([]byte, r.BlockSize()); ; {
		block, _, err := r.Next(buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			log.Panic(err)
		}
		fmt.Printf("%d %s\n", block, buf[:7])
	}
	if err := r.Close(); err != nil { // only now it is known to be complete
		log.Panic(err)
	}
	// Output:
	// differencing 8388608 [0 2]
	// 0 tuesday
	// 2 tuesday
}

func ExampleNewExport() {
	root, remove := exampleDir()
	defer remove()
	image, err := open(root, "monday.vhd")
	if err != nil {
		log.Panic(err)
	}
	blocks, err := vhd.DataBlocks(context.Background(), image)
	if err != nil {
		log.Panic(err)
	}
	l := vhd.Layout{Type: vhd.Dynamic, Size: image.Size(), UUID: image.UUID(), Blocks: blocks, Profile: vhd.Host}
	body, err := vhd.NewExport(context.Background(), image, l)
	if err != nil {
		log.Panic(err)
	}
	n, err := io.Copy(io.Discard, body)
	fmt.Println(n == body.Size(), err)
	// Output: true <nil>
}

func ExampleMerge() {
	root, remove := exampleDir()
	defer remove()
	dir := vhd.OSDir(root)
	plan := &vhd.MergePlan{Chain: []string{"monday.vhd", "tuesday.vhd", "wednesday.vhd"}}
	result, err := vhd.Merge(context.Background(), dir, plan, nil)
	if err != nil {
		log.Panic(err) // call it again later: it goes on where it stopped
	}
	fmt.Println("kept", result.Kept)
	names, err := dir.List(context.Background(), ".")
	fmt.Println(names, err)
	image, err := open(root, "wednesday.vhd")
	if err != nil {
		log.Panic(err)
	}
	fmt.Println(image.Type(), image.Allocated(), "blocks")
	// Output:
	// kept wednesday.vhd
	// [wednesday.vhd] <nil>
	// dynamic 4 blocks
}
