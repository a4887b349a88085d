package xapitest_test

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// saveDisk is an integrator's own orchestration: it copies a disk of a running
// machine by way of a snapshot, and tries again when that fails. It has to
// remove its snapshots on every way out.
func saveDisk(ctx context.Context, client *xapi.Client, vm string, tries int, store func(io.Reader) error) (err error) {
	for range tries {
		if err = saveOnce(ctx, client, vm, store); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return fmt.Errorf("given up after %d tries: %w", tries, err)
}

func saveOnce(ctx context.Context, client *xapi.Client, vm string, store func(io.Reader) error) (err error) {
	var snapshot xapi.Ref[xapi.VM]
	if err := client.CallAsync(ctx, "VM.snapshot", &snapshot, vm, "xo-backup-temp-snapshot-name"); err != nil {
		return err
	}
	record, err := xapi.Get(ctx, client, snapshot)
	if err != nil {
		return err
	}
	vbd, err := xapi.Get(ctx, client, record.VBDs[0])
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, client.CallAsync(ctx, "VM.destroy", nil, snapshot), client.CallAsync(ctx, "VDI.destroy", nil, vbd.VDI))
	}()
	download, err := client.ExportVDI(ctx, vbd.VDI, nil)
	if err != nil {
		return err
	}
	defer func() { _ = download.Close() }()
	return errors.Join(store(download), download.Finish(ctx))
}

// An integrator tests their own orchestration: the first export is cut, as if
// the host had been unplugged, and the second must make up for it without
// leaving a snapshot behind.
func Example_orchestration() {
	pool, err := xapitest.Start(xapitest.Inventory{VMs: []xapitest.VM{{
		Name: "web", PowerState: "Running", Disks: []xapitest.Disk{{Name: "root", Size: 8 << 20}},
	}}}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	pool.CutExport(1000)

	ctx := context.Background()
	client, err := xapi.Dial(ctx, pool.URL(), &xapi.Options{Password: xapi.Secret(pool.Password())})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = saveDisk(ctx, client, pool.VM("web").Ref, 2, func(body io.Reader) error {
		n, err := io.Copy(io.Discard, body)
		fmt.Println("received", n, "bytes")
		return err
	})
	fmt.Println("saved:", err == nil)
	for _, call := range pool.Calls() {
		if call.Method == "Async.VM.snapshot" || call.Method == "Async.VM.destroy" {
			fmt.Println(call.Method)
		}
	}
	// A fault that never struck, a snapshot, an attached disk or a pending task
	// that is left over would make Close fail; in a test, NewPool closes.
	fmt.Println("closed:", errors.Join(client.Close(), pool.Close()))
	// Output:
	// received 1000 bytes
	// received 3072 bytes
	// saved: true
	// Async.VM.snapshot
	// Async.VM.destroy
	// Async.VM.snapshot
	// Async.VM.destroy
	// closed: <nil>
}
