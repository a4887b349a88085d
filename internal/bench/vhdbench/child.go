package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/xenbackup/xenbackup/internal/bench"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

func runChild(ctx context.Context, args []string) error {
	var r bench.Report
	var err error
	switch op := args[0]; op {
	case "vhd": // from a raw file or a VHD
		err = convert(ctx, args[1], args[2], func(dst *os.File, src disk.Source) error {
			_, err := vhd.Flatten(ctx, dst, src, vhd.Layout{Type: vhd.Dynamic, UUID: vhd.UUID{1}}, nil)
			return err
		})
	case "raw":
		err = convert(ctx, args[1], args[2], func(dst *os.File, src disk.Source) error {
			_, err := vhd.FlattenRaw(ctx, dst, src, nil)
			return err
		})
	case "random":
		err = withDisk(ctx, args[1], func(src disk.Source) (err error) {
			r.P50, r.P99, err = randomReads(src)
			return err
		})
	case "open":
		start := time.Now()
		err = withDisk(ctx, args[1], func(src disk.Source) error {
			r.Open = time.Since(start)
			return nil
		})
	case "merge":
		err = mergeAll(ctx, args[1], args[2:])
	case "over":
		err = copyOver(args[1], args[2])
	default:
		err = fmt.Errorf("unknown operation %q", op)
	}
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(r))
}

// convert opens what is at from, a chain if it has parents, and makes the file to.
func convert(ctx context.Context, from, to string, do func(dst *os.File, src disk.Source) error) error {
	return withDisk(ctx, from, func(src disk.Source) error {
		dst, err := os.Create(to)
		if err != nil {
			return err
		}
		return errors.Join(do(dst, src), dst.Close())
	})
}

func withDisk(ctx context.Context, name string, do func(disk.Source) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if filepath.Ext(name) != ".vhd" {
		return do(vhd.NewRaw(f, info.Size()))
	}
	leaf, err := vhd.Open(f, info.Size(), &vhd.OpenOptions{Name: name})
	if err != nil {
		return err
	}
	if leaf.Type() != vhd.Differencing {
		return do(leaf)
	}
	var opened []*os.File
	defer func() {
		for _, f := range opened {
			_ = f.Close()
		}
	}()
	chain, err := vhd.OpenChain(ctx, leaf, func(_ context.Context, _ *vhd.Image, ref vhd.ParentRef) (*vhd.Image, error) {
		f, err := os.Open(filepath.Join(filepath.Dir(name), filepath.Base(ref.Names[0])))
		if err != nil {
			return nil, err
		}
		opened = append(opened, f)
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		return vhd.Open(f, info.Size(), &vhd.OpenOptions{Name: f.Name()})
	}, nil)
	if err != nil {
		return err
	}
	return do(chain)
}

// randomReads reads 4 KiB at random places of the data, warm, and times each.
func randomReads(src disk.Source) (p50, p99 time.Duration, err error) {
	const warm, timed = 20000, 100000
	rnd := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 4096)
	times := make([]time.Duration, 0, timed)
	for i := range warm + timed {
		off := rnd.Int64N(src.Size()/4096) * 4096
		start := time.Now()
		if _, err := src.ReadAt(buf, off); err != nil {
			return 0, 0, err
		}
		if i >= warm {
			times = append(times, time.Since(start))
		}
	}
	slices.Sort(times)
	return times[timed/2], times[timed*99/100], nil
}

func mergeAll(ctx context.Context, dir string, names []string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	_, err = vhd.Merge(ctx, vhd.OSDir(root), &vhd.MergePlan{Chain: names}, nil)
	return err
}

// copyOver writes the bytes of one file over those of another, as dd does, in a
// process that starts as slowly as the others of this program.
func copyOver(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, 2<<20))
	return errors.Join(err, dst.Close())
}
