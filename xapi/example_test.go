package xapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// web is a pool with one VM that has one empty disk, as the examples need it. With a real pool, Dial takes its address, such as
// https://pool.example.org.
var web = xapitest.Inventory{
	SRs: []xapitest.SR{{Name: "local"}},
	VMs: []xapitest.VM{{Name: "web", Disks: []xapitest.Disk{{Name: "root", Size: 8 << 20}}}},
}

// dial logs in to such a pool. done logs out again, and ends the pool.
func dial(ctx context.Context) (pool *xapitest.Pool, client *xapi.Client, done func()) {
	pool, err := xapitest.Start(web, nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err = xapi.Dial(ctx, pool.URL(), &xapi.Options{Username: pool.Username(), Password: xapi.Secret(pool.Password())})
	if err != nil {
		log.Fatal(err)
	}
	return pool, client, func() {
		if err := errors.Join(client.Close(), pool.Close()); err != nil {
			log.Fatal(err)
		}
	}
}

func Example() {
	ctx := context.Background()
	pool, err := xapitest.Start(web, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()

	client, err := xapi.Dial(ctx, pool.URL(), &xapi.Options{Username: pool.Username(), Password: xapi.Secret(pool.Password())})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	vms, err := xapi.All[xapi.VM](ctx, client)
	if err != nil {
		fmt.Println(err)
		return
	}
	var names []string
	for _, vm := range vms {
		if !vm.IsControlDomain && !vm.IsATemplate {
			names = append(names, vm.NameLabel)
		}
	}
	slices.Sort(names)
	fmt.Println(strings.Join(names, " "))
	// Output: web
}

func ExampleClient_ExportVDI() {
	ctx := context.Background()
	pool, client, done := dial(ctx)
	defer done()

	err := exportSnapshot(ctx, client, pool.VM("web").UUID)
	fmt.Println(err)
	// Output:
	// a disk of 8 MiB, 0 blocks
	// <nil>
}

// exportSnapshot reads the disks of a VM as they are now, and leaves no snapshot behind.
func exportSnapshot(ctx context.Context, client *xapi.Client, uuid string) error {
	vm, err := xapi.ByUUID[xapi.VM](ctx, client, uuid)
	if err != nil {
		return err
	}
	var snapshot xapi.Ref[xapi.VM]
	if err := client.CallAsync(ctx, "VM.snapshot", &snapshot, vm, "for the export"); err != nil {
		return err
	}
	record, err := xapi.Get(ctx, client, snapshot)
	if err != nil {
		return err
	}
	for _, ref := range record.VBDs {
		vbd, err := xapi.Get(ctx, client, ref)
		if err != nil {
			return err
		}
		if err := export(ctx, client, vbd.VDI); err != nil {
			return err
		}
		if err := client.CallAsync(ctx, "VDI.destroy", nil, vbd.VDI); err != nil {
			return err
		}
	}
	return client.CallAsync(ctx, "VM.destroy", nil, snapshot)
}

func export(ctx context.Context, client *xapi.Client, vdi xapi.Ref[xapi.VDI]) error {
	download, err := client.ExportVDI(ctx, vdi, nil)
	if err != nil {
		return err
	}
	defer download.Close()
	stream, err := vhd.NewStreamReader(download)
	if err != nil {
		return err
	}
	fmt.Printf("a disk of %d MiB, %d blocks\n", stream.Size()>>20, len(stream.Blocks()))
	if _, _, err := stream.Next(make([]byte, 2<<20)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("more than announced: %w", err)
	}
	if err := stream.Close(); err != nil { // the structure is complete
		return err
	}
	return download.Finish(ctx) // and the pool agrees
}

func ExampleClient_ImportVDI() {
	ctx := context.Background()
	pool, client, done := dial(ctx)
	defer done()

	sr, err := xapi.ByUUID[xapi.SR](ctx, client, pool.SR("local").UUID)
	if err != nil {
		fmt.Println(err)
		return
	}
	var vdi xapi.Ref[xapi.VDI]
	disk := xapi.VDI{NameLabel: "restored", SR: sr, VirtualSize: 1 << 20, Type: "user"}
	if err := client.CallAsync(ctx, "VDI.create", &vdi, disk); err != nil {
		fmt.Println(err)
		return
	}
	content := strings.Repeat("restored ", 1<<20)[:1<<20]
	err = client.ImportVDI(ctx, vdi, int64(len(content)), strings.NewReader(content), &xapi.ImportVDIOptions{Format: "raw"})
	fmt.Println(err)
	// Output: <nil>
}
