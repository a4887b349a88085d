// Package sample makes a repository with one restore point of a small machine, of the disk
// images that the tests of filerestore keep: for the tests of the example programs.
package sample

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// VM is the uuid of the machine.
const VM = "5f3c3c1e-0000-4000-8000-00000000000a"

// SourceVDI is the uuid of its disk n, counted from 0.
func SourceVDI(n int) string { return fmt.Sprintf("5f3c3c1e-0000-4000-8000-0000000001%02x", n) }

// Image unpacks a disk that is kept compressed with zstd.
func Image(name string) ([]byte, error) {
	packed, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.DecodeAll(packed, nil)
}

// Write makes the repository in a directory that is there, and returns the ID of the point,
// whose disks hold what is given: the first is xvda.
func Write(ctx context.Context, dir string, disks ...[]byte) (id string, err error) {
	fsys, err := local.Open(dir, nil)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, fsys.Close()) }()
	c, err := catalog.Open(ctx, fsys, nil)
	if err != nil {
		return "", err
	}
	s, err := c.LockVM(ctx, VM)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close(context.WithoutCancel(ctx))) }()
	w, err := s.NewPoint(ctx, catalog.PointSpec{
		JobID: "5f3c3c1e-0000-4000-8000-00000000000b", ScheduleID: "5f3c3c1e-0000-4000-8000-00000000000c", Time: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
	})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, w.Abort(context.WithoutCancel(ctx))) }()
	m := catalog.Metadata{
		VM:         json.RawMessage(`{"uuid":"` + VM + `","name_label":"web","name_description":"","tags":[]}`),
		VMSnapshot: json.RawMessage(`{"suspend_VDI":"OpaqueRef:NULL"}`),
		VDIs:       map[string]json.RawMessage{}, VBDs: map[string]json.RawMessage{},
	}
	for n, content := range disks {
		if err := write(ctx, w, &m, n, content); err != nil {
			return "", err
		}
	}
	p, err := w.Commit(ctx, m)
	if err != nil {
		return "", err
	}
	return p.ID, nil
}

// write writes a disk, and puts it down.
func write(ctx context.Context, w *catalog.PointWriter, m *catalog.Metadata, n int, content []byte) error {
	ref, snapshot := fmt.Sprintf("OpaqueRef:%d", n), fmt.Sprintf("5f3c3c1e-0000-4000-8000-0000000002%02x", n)
	m.VDIs[ref] = fmt.Appendf(nil, `{"uuid":%q,"name_label":"disk %d","$snapshot_of$uuid":%q,"virtual_size":%d}`, snapshot, n, SourceVDI(n), len(content))
	m.VBDs[fmt.Sprintf("OpaqueRef:vbd-%d", n)] = fmt.Appendf(nil, `{"VDI":%q,"userdevice":"%d"}`, ref, n)
	var blocks []uint32
	for at := 0; at < len(content); at += disk.BlockSize {
		if len(bytes.Trim(block(content, at), "\x00")) > 0 {
			blocks = append(blocks, uint32(at/disk.BlockSize))
		}
	}
	d, err := w.CreateDisk(ctx, catalog.DiskSpec{
		Ref: ref, SourceVDI: SourceVDI(n), SnapshotVDI: snapshot, Size: int64(len(content)), Blocks: blocks,
	})
	if err != nil {
		return err
	}
	for _, b := range blocks {
		if err := d.WriteBlock(b, block(content, int(b)*disk.BlockSize)); err != nil {
			return err
		}
	}
	return d.Close()
}

func block(content []byte, at int) []byte { return content[at:min(len(content), at+disk.BlockSize)] }
