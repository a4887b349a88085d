package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/xenbackup/xenbackup/internal/bench"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xva"
)

func runChild(ctx context.Context, args []string) error {
	var r bench.Report
	var err error
	switch op := args[0]; op {
	case "write": // raw file, archive, checksum, compression
		err = write(ctx, args[1], args[2], args[3], args[4])
	case "read": // archive, raw file; as a stream
		err = read(ctx, args[1], args[2])
	case "convert": // archive, raw file; with an index
		err = convert(ctx, args[1], args[2])
	case "open":
		start := time.Now()
		err = withArchive(ctx, args[1], func(*xva.Archive) error {
			r.Open = time.Since(start)
			return nil
		})
	default:
		err = fmt.Errorf("unknown operation %q", op)
	}
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(r))
}

func write(ctx context.Context, from, to, sum, compression string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	ova := &xva.OVA{
		Version: xva.Version{XapiMajor: 1, XapiMinor: 20, ExportVSN: 2},
		Objects: []xva.Object{
			{Class: "VM", ID: "Ref:1", Snapshot: map[string]any{"name_label": "bench"}},
			{Class: "VBD", ID: "Ref:2", Snapshot: map[string]any{"type": "Disk", "VDI": diskID, "VM": "Ref:1"}},
			{Class: "VDI", ID: diskID, Snapshot: map[string]any{"virtual_size": info.Size(), "type": "user"}},
		},
	}
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	kind := map[string]xva.Compression{"gzip": xva.Gzip, "zstd": xva.Zstd}[compression]
	z, err := xva.NewCompressor(dst, kind)
	if err != nil {
		return err
	}
	opts := &xva.WriterOptions{Checksum: map[string]xva.Checksum{"xxhash": xva.XXHash}[sum]}
	disks := map[string]disk.Source{diskID: vhd.NewRaw(src, info.Size())}
	return errors.Join(xva.Write(ctx, z, ova, disks, opts), z.Close())
}

func read(ctx context.Context, from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	r, err := xva.NewReader(src, nil)
	if err != nil {
		return err
	}
	defer r.Close()
	var dst *os.File
	err = r.CopyTo(ctx, func(d xva.Disk) (io.WriterAt, error) {
		dst, err = os.Create(to)
		if err != nil {
			return nil, err
		}
		return dst, dst.Truncate(d.Size)
	})
	return errors.Join(err, dst.Close())
}

func convert(ctx context.Context, from, to string) error {
	return withArchive(ctx, from, func(a *xva.Archive) error {
		dst, err := os.Create(to)
		if err != nil {
			return err
		}
		_, err = vhd.FlattenRaw(ctx, dst, a.Image(diskID), nil)
		return errors.Join(err, dst.Close())
	})
}

func withArchive(ctx context.Context, name string, do func(*xva.Archive) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	a, err := xva.Open(ctx, f, info.Size(), nil)
	if err != nil {
		return err
	}
	return do(a)
}
