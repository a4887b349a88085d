package xapitest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// A program starts a pool and lists its virtual machines with a plain client.
func Example() {
	pool, err := xapitest.Start(xapitest.Inventory{
		Name: "lab",
		VMs: []xapitest.VM{
			{Name: "web", PowerState: "Running", Disks: []xapitest.Disk{{Name: "root", Size: 8 << 20}}},
			{Name: "db", Tags: []string{"prod"}},
		},
	}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = pool.Close() }()

	ctx := context.Background()
	client, err := xapi.Dial(ctx, pool.URL(), &xapi.Options{Password: xapi.Secret(pool.Password())})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	vms, err := xapi.All[xapi.VM](ctx, client)
	if err != nil {
		fmt.Println(err)
		return
	}
	var lines []string
	for vm := range maps.Values(vms) {
		if !vm.IsControlDomain {
			lines = append(lines, fmt.Sprintln(vm.NameLabel, vm.PowerState, vm.Tags))
		}
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Print(line)
	}
	// Output:
	// db Halted [prod]
	// web Running []
}

// protect is an integrator's own orchestration: it takes snapshots of machines,
// and goes on with the next when one fails.
func protect(ctx context.Context, client *xapi.Client, vms []string) (failed []string) {
	for _, vm := range vms {
		err := client.CallAsync(ctx, "VM.snapshot", nil, vm, "nightly")
		if errors.Is(err, xapi.ErrSRFull) {
			failed = append(failed, vm)
		}
	}
	return failed
}

// An integrator tests how their own code deals with a repository that is full
// for one machine of three.
func ExamplePool_Fail() {
	pool, err := xapitest.Start(xapitest.Inventory{VMs: []xapitest.VM{{Name: "a"}, {Name: "b"}, {Name: "c"}}}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	pool.Fail("VM.snapshot", xapitest.OnCall(2), &xapi.Error{Code: "SR_FULL", Params: []string{"8388608", "0"}})

	ctx := context.Background()
	client, err := xapi.Dial(ctx, pool.URL(), &xapi.Options{Password: xapi.Secret(pool.Password())})
	if err != nil {
		fmt.Println(err)
		return
	}
	failed := protect(ctx, client, []string{pool.VM("a").Ref, pool.VM("b").Ref, pool.VM("c").Ref})
	fmt.Println("failed:", len(failed), "the second one:", failed[0] == pool.VM("b").Ref)
	fmt.Println("snapshots:", len(pool.Snapshots()), "leaks:", len(pool.Leaks()))
	fmt.Println("closed:", errors.Join(client.Close(), pool.Close()))
	// Output:
	// failed: 1 the second one: true
	// snapshots: 2 leaks: 0
	// closed: <nil>
}

// An export that is cut looks complete to a reader that trusts the end of the
// stream. This client does not.
func ExamplePool_CutExport() {
	pool, err := xapitest.Start(xapitest.Inventory{VMs: []xapitest.VM{{Name: "web", Disks: []xapitest.Disk{{Size: 8 << 20}}}}}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = pool.Close() }()
	pool.CutExport(1000)

	ctx := context.Background()
	client, err := xapi.Dial(ctx, pool.URL(), &xapi.Options{Password: xapi.Secret(pool.Password())})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	download, err := client.ExportVDI(ctx, xapi.Ref[xapi.VDI](pool.VM("web").Disks[0].Ref), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = download.Close() }()
	buf := make([]byte, 4096)
	n := 0
	for err == nil {
		var read int
		read, err = download.Read(buf)
		n += read
	}
	fmt.Println("bytes:", n)
	fmt.Println("complete:", download.Finish(ctx) == nil)
	// Output:
	// bytes: 1000
	// complete: false
}
