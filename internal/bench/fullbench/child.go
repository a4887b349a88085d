package main

import (
	"context"
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"github.com/xenbackup/xenbackup/internal/bench"
	"github.com/xenbackup/xenbackup/internal/bench/benchpool"
	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// runChild does one thing in a process of its own.
func runChild(ctx context.Context, args []string) error {
	var err error
	switch args[0] {
	case "pool":
		return servePool(args[1], args[2])
	case "backup":
		err = backUp(ctx, args[1], args[2], args[3])
	case "least":
		err = receive(ctx, args[1], args[2])
	case "copy":
		err = copyAndSync(args[1], args[2])
	case "md5":
		err = digest(args[1])
	default:
		err = fmt.Errorf("unknown task %q", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(bench.Report{})
}

// servePool runs a pool with a halted VM that has one disk.
func servePool(content, dir string) error {
	return benchpool.Serve(xapitest.Inventory{VMs: []xapitest.VM{{
		Name: "vm", Disks: []xapitest.Disk{{Name: "disk", Content: content}},
	}}}, dir, nil)
}

// dial opens a session with a pool that servePool runs, and returns its VM.
func dial(ctx context.Context, at string) (client *xapi.Client, vm string, err error) {
	a, err := benchpool.ParseAddress(at)
	if err != nil {
		return nil, "", err
	}
	client, err = a.Dial(ctx)
	return client, a.VMs[0], err
}

// backUp makes one full backup to a new folder.
func backUp(ctx context.Context, dir, compression, at string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	client, vm, err := dial(ctx, at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	folder, err := local.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	repository, err := catalog.Open(ctx, folder, nil)
	if err != nil {
		return err
	}
	runner, err := pipeline.NewRunner(&pipeline.RunnerOptions{
		Pools:   map[string]pipeline.Pool{"pool": client},
		Remotes: func(context.Context, string) (*catalog.Catalog, error) { return repository, nil },
	})
	if err != nil {
		return err
	}
	if compression == "none" {
		compression = pipeline.CompressionNone
	}
	_, err = runner.Run(ctx, &pipeline.Job{
		ID: "bench", Name: "bench", Type: pipeline.TypeBackup, Mode: pipeline.ModeFull, Compression: &compression,
		VMs: pipeline.IDs(vm), Remotes: pipeline.IDs("folder"),
		Settings: map[string]json.RawMessage{"": json.RawMessage(`{"exportRetention":1}`)},
	}, nil)
	return err
}

// receive does the least that a full backup can be: it writes and syncs the archive
// that the pool sends, and computes its MD5 meanwhile.
func receive(ctx context.Context, to, at string) (err error) {
	client, vm, err := dial(ctx, at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	ref, err := xapi.ByUUID[xapi.VM](ctx, client, vm)
	if err != nil {
		return err
	}
	download, err := client.ExportVM(ctx, ref, &xapi.ExportVMOptions{Compression: xapi.CompressNone})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, download.Close()) }()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := writeAndDigest(out, download); err != nil {
		return err
	}
	return errors.Join(download.Finish(ctx), out.Sync())
}

// writeAndDigest reads ahead of the MD5 by as much as a backup does.
func writeAndDigest(out io.Writer, in io.Reader) error {
	free, full := make(chan []byte, 4), make(chan []byte, 4)
	for range cap(free) {
		free <- make([]byte, 2<<20)
	}
	var digesting sync.WaitGroup
	defer digesting.Wait()
	defer close(full)
	digesting.Go(func() {
		h := md5.New()
		for block := range full {
			_, _ = h.Write(block) // never fails
			free <- block[:cap(block)]
		}
	})
	for {
		block := <-free
		n, err := io.ReadFull(in, block)
		if n > 0 {
			if _, err := out.Write(block[:n]); err != nil {
				return err
			}
			full <- block[:n]
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func copyAndSync(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(struct{ io.Writer }{out}, struct{ io.Reader }{in}); err != nil {
		return err
	}
	return out.Sync()
}

func digest(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	h := md5.New()
	_, err = io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return err
}

// random makes a file that does not compress.
func random(name string, size int64) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), size)
	return err
}

// files makes a file of the files of a directory, one after the other, up to size.
func files(name, source string, size int64) (written int64, err error) {
	f, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		n, err := io.Copy(f, io.LimitReader(in, size-written))
		if written += n; err == nil && written == size {
			return fs.SkipAll
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	written = (written + 511) / 512 * 512
	return written, f.Truncate(written)
}
