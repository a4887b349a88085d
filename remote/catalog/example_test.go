package catalog_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"time"

	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

const exampleVM = "7c1b6a52-2a0f-4d0e-9f3e-1d5a4c6b8e21"

// exampleCatalog is a repository in memory; package local has one on disk.
func exampleCatalog(ctx context.Context) (*catalog.Catalog, error) {
	return catalog.Open(ctx, remotetest.NewCrash(), nil)
}

// writeExample writes a point of a VM with one disk.
func writeExample(ctx context.Context, c *catalog.Catalog, at time.Time) (point *catalog.Point, err error) {
	session, err := c.LockVM(ctx, exampleVM)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := session.Close(ctx); err == nil {
			err = closeErr
		}
	}()
	w, err := session.NewPoint(ctx, catalog.PointSpec{JobID: "nightly-job", ScheduleID: "nightly", Time: at})
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.Abort(ctx) }() // nothing after a Commit
	disk, err := w.CreateDisk(ctx, catalog.DiskSpec{
		Ref:         "OpaqueRef:1",
		SourceVDI:   "0b6f5c7e-5d2b-4f0a-8a49-3f1f9f0c2d11",
		SnapshotVDI: "5a9f1f64-0c5e-4f8e-9d1b-6c2a7e3b4f52",
		Size:        8 << 20,
		Blocks:      []uint32{1}, // of four; the others are zeros
	})
	if err != nil {
		return nil, err
	}
	if err := disk.WriteBlock(1, []byte("hello, disk")); err != nil {
		return nil, err
	}
	if err := disk.Close(); err != nil {
		return nil, err
	}
	return w.Commit(ctx, catalog.Metadata{
		VM:         json.RawMessage(`{"uuid":"` + exampleVM + `","name_label":"web","name_description":"","tags":[]}`),
		VMSnapshot: json.RawMessage(`{"suspend_VDI":"OpaqueRef:NULL"}`),
		VDIs: map[string]json.RawMessage{
			"OpaqueRef:1": json.RawMessage(`{"uuid":"5a9f1f64-0c5e-4f8e-9d1b-6c2a7e3b4f52","name_label":"root","virtual_size":8388608}`),
		},
	})
}

func Example() {
	ctx := context.Background()
	c, err := exampleCatalog(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for hour := range 2 {
		if _, err := writeExample(ctx, c, time.Date(2026, 1, 10, 3+hour, 0, 0, 0, time.UTC)); err != nil {
			log.Fatal(err)
		}
	}
	for vm, err := range c.VMs(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		for p, err := range c.Points(ctx, vm) {
			if err != nil {
				log.Print(err) // this point cannot be read; the listing goes on
				continue
			}
			fmt.Println(p.Name(), p.Time().Format(time.DateTime), p.Metadata.Mode, p.Metadata.Size)
		}
	}
	// Output:
	// web 2026-01-10 03:00:00 delta 2101760
	// web 2026-01-10 04:00:00 delta 2101760
}

func ExampleSession_NewPoint() {
	ctx := context.Background()
	c, err := exampleCatalog(ctx)
	if err != nil {
		log.Fatal(err)
	}
	p, err := writeExample(ctx, c, time.Date(2026, 1, 10, 3, 0, 0, 0, time.UTC))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.ID)
	fmt.Println(p.Metadata.VHDs["OpaqueRef:1"])
	// Output:
	// xo-vm-backups/7c1b6a52-2a0f-4d0e-9f3e-1d5a4c6b8e21/20260110T030000Z.json
	// vdis/nightly-job/0b6f5c7e-5d2b-4f0a-8a49-3f1f9f0c2d11/20260110T030000Z.vhd
}

func ExampleCatalog_OpenDisk() {
	ctx := context.Background()
	c, err := exampleCatalog(ctx)
	if err != nil {
		log.Fatal(err)
	}
	p, err := writeExample(ctx, c, time.Date(2026, 1, 10, 3, 0, 0, 0, time.UTC))
	if err != nil {
		log.Fatal(err)
	}
	for _, info := range c.Disks(p) {
		disk, err := c.OpenDisk(ctx, p, info.Ref)
		if err != nil {
			log.Fatal(err)
		}
		data := make([]byte, 11)
		_, err = disk.ReadAt(data, 2<<20)
		fmt.Printf("%s %d bytes, %d link: %q %v\n", info.Name, disk.Size(), disk.Links(), data, err)
		if err := disk.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// root 8388608 bytes, 1 link: "hello, disk" <nil>
}

func ExamplePlan() {
	var points []*catalog.Point
	for i, day := range []string{"monday", "tuesday", "wednesday"} {
		points = append(points, &catalog.Point{ID: day, Metadata: catalog.Metadata{
			Mode: catalog.ModeDelta, ScheduleID: "nightly", Timestamp: int64(i),
		}})
	}
	for _, fate := range catalog.Plan(points, catalog.Retention{ScheduleID: "nightly", Keep: 2}) {
		fmt.Println(fate.Point.ID, fate.Keep, fate.Reason)
	}
	// Output:
	// monday false number 3 of the delta points, counted from the newest; 2 are kept
	// tuesday true number 2 of the delta points, counted from the newest; 2 are kept
	// wednesday true number 1 of the delta points, counted from the newest; 2 are kept
}
