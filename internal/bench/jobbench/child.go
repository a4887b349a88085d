package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"

	"github.com/xenbackup/xenbackup/internal/bench"
	"github.com/xenbackup/xenbackup/internal/bench/benchpool"
	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/remote/all"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// runChild does one thing in a process of its own.
func runChild(ctx context.Context, args []string) error {
	var err error
	switch args[0] {
	case "pool":
		return servePool(args[1], args[2:])
	case "backup":
		err = backUp(ctx, args[1], args[2])
	case "copy":
		c := &copier{to: args[1], at: args[2], vdi: args[3], base: args[4]}
		err = c.run(ctx, args[5] == "aside")
	default:
		err = fmt.Errorf("unknown task %q", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(bench.Report{})
}

const (
	askChange   = "change"
	changedPart = 4 // every fourth block of data
)

// servePool serves VMs of one disk each; sizes are their number, the size of a disk,
// and how much of it is data, which is spread over it.
func servePool(dir string, sizes []string) error {
	var n [3]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(sizes[i], 10, 64); err != nil {
			return err
		}
	}
	vms, size, data := n[0], n[1], n[2]
	inventory := xapitest.Inventory{SRs: []xapitest.SR{{Name: "local"}}}
	for i := range vms {
		inventory.VMs = append(inventory.VMs, xapitest.VM{
			Name: fmt.Sprint("vm ", i), PowerState: "Running", Disks: []xapitest.Disk{{Name: "disk", Size: size}},
		})
	}
	random := rand.NewChaCha8([32]byte{})
	block := make([]byte, disk.BlockSize)
	stride := size / data * disk.BlockSize
	write := func(pool *xapitest.Pool, every int64) error {
		for _, vm := range pool.VMs() {
			for off := int64(0); off < size; off += every * stride {
				_, _ = random.Read(block)
				if err := pool.WriteVDI(vm.Disks[0].UUID, block[:min(disk.BlockSize, size-off)], off); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return benchpool.Serve(inventory, dir, &benchpool.Options{
		Prepare: func(pool *xapitest.Pool) error { return write(pool, 1) },
		Ask:     func(pool *xapitest.Pool, _ string) error { return write(pool, changedPart) },
	})
}

// backUp runs a delta job of all VMs of a pool, all at once.
func backUp(ctx context.Context, to, at string) (err error) {
	a, err := benchpool.ParseAddress(at)
	if err != nil {
		return err
	}
	client, err := a.Dial(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	fsys, err := all.Opener().Open(ctx, to, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fsys.Close()) }()
	repository, err := catalog.Open(ctx, fsys, nil)
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
	_, err = runner.Run(ctx, &pipeline.Job{
		ID: "33333333-0000-4000-8000-000000000001", Name: "bench", Type: pipeline.TypeBackup, Mode: pipeline.ModeDelta,
		VMs: pipeline.IDs(a.VMs...), Remotes: pipeline.IDs("place"),
		Settings: map[string]json.RawMessage{"": json.RawMessage(`{"exportRetention":2,"concurrency":0,"bypassVdiChainsCheck":true}`)},
	}, nil)
	return err
}
