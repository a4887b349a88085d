package xapi_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/xenbackup/xenbackup/xapi"
)

// A loop over Watch keeps a list of VMs true, whatever happens to the connection, the session or the pool.
func ExampleClient_Watch() {
	ctx := context.Background()
	pool, client, done := dial(ctx)
	defer done()

	names := make(map[string]string)
	for event, err := range client.Watch(ctx, "vm") {
		if err != nil {
			fmt.Println(err)
			return
		}
		switch event.Op {
		case xapi.EventResync: // everything comes again, except what is gone
			clear(names)
		case xapi.EventSynced:
			fmt.Println(len(names), "VM and", names[pool.VM("web").Ref])
			if err := client.Call(ctx, "VM.set_name_label", nil, pool.VM("web").Ref, "www"); err != nil {
				fmt.Println(err)
				return
			}
		case xapi.EventDel:
			delete(names, event.Ref)
		default:
			var vm xapi.VM
			if err := json.Unmarshal(event.Snapshot, &vm); err != nil {
				fmt.Println(err)
				return
			}
			if !vm.IsControlDomain {
				names[event.Ref] = vm.NameLabel
			}
		}
		if names[event.Ref] == "www" {
			fmt.Println("renamed")
			break
		}
	}
	// Output:
	// 1 VM and web
	// renamed
}

// Sync is a barrier: what the pool did before it, by whoever's wish, is in the snapshot after it.
func ExampleClient_Inventory() {
	ctx := context.Background()
	pool, client, done := dial(ctx)
	defer done()
	inventory, err := client.Inventory(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer inventory.Close()

	ref, vm := inventory.Snapshot().VMs.ByUUID(pool.VM("web").UUID)
	if err := client.Call(ctx, "VM.set_name_label", nil, ref, "www"); err != nil {
		fmt.Println(err)
		return
	}
	if err := inventory.Sync(ctx); err != nil {
		fmt.Println(err)
		return
	}
	now := inventory.Snapshot()
	fmt.Println("was", vm.NameLabel, "is", now.VMs.Get(ref).NameLabel)
	for _, vbd := range vm.VBDs {
		fmt.Println("disk", now.VDIs.Get(now.VBDs.Get(vbd).VDI).NameLabel)
	}
	// Output:
	// was web is www
	// disk root
}
