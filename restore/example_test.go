package restore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// Make a VM of records and a disk that come from somewhere else than a repository.
func ExampleImporter() {
	if err := importOne(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: machine: 1 disk
}

func importOne(ctx context.Context) error {
	pool, err := xapitest.Start(xapitest.Inventory{
		SRs: []xapitest.SR{{Name: "local"}},
		VMs: []xapitest.VM{{Name: "original", Disks: []xapitest.Disk{{Size: 4 << 20}}}},
	}, nil)
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := xapi.Dial(ctx, pool.URL(), &xapi.Options{Password: xapi.Secret(pool.Password())})
	if err != nil {
		return err
	}
	defer client.Close()

	original := pool.VM("original")
	records := restore.Records{VDIs: map[string]json.RawMessage{}, VBDs: map[string]json.RawMessage{}}
	if err := client.Call(ctx, "VM.get_record", &records.VM, original.Ref); err != nil {
		return err
	}
	var vdi json.RawMessage
	if err := client.Call(ctx, "VDI.get_record", &vdi, original.Disks[0].Ref); err != nil {
		return err
	}
	records.VDIs["disk"] = vdi
	importer := &restore.Importer{Pool: client}
	made, err := importer.Import(ctx, records, []restore.Disk{{
		Key: "disk", SR: xapi.Ref[xapi.SR](pool.SR("local").Ref), Content: zeros(4 << 20),
	}}, restore.VMOptions{Name: "machine"})
	if err != nil {
		return err
	}
	vm, err := xapi.Get(ctx, client, made.VM)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %d disk\n", vm.NameLabel, len(made.Disks))
	return nil
}

// zeros is a disk of that many bytes without content.
type zeros int64

func (z zeros) Size() int64 { return int64(z) }

func (z zeros) ReadAt(p []byte, off int64) (int, error) {
	n := max(0, min(int64(len(p)), int64(z)-off))
	clear(p[:n])
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func (z zeros) Extents(_ context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		yield(disk.Extent{Off: off, Len: min(n, int64(z)-off), Kind: disk.Zero}, nil)
	}
}
