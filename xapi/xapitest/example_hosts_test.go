package xapitest_test

import (
	"context"
	"fmt"
	"log"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// A pool of two hosts changes its master while a client is at work. The network
// is in memory, so that the hosts need no addresses.
func ExamplePool_SetMaster() {
	inventory := xapitest.Inventory{Hosts: []xapitest.Host{{Name: "alpha"}, {Name: "beta"}}}
	pool, err := xapitest.Start(inventory, &xapitest.Options{Listener: xapitest.NewMemoryListener(), TLS: true})
	if err != nil {
		log.Fatal(err)
	}
	if err := pool.SetMaster("beta"); err != nil {
		log.Fatal(err)
	}
	former := pool.Hosts()[0]
	opts := &xapi.Options{Password: xapi.Secret(pool.Password()), Transport: pool.Transport()}
	client, err := xapi.Dial(context.Background(), former.URL, opts)
	if err != nil {
		log.Fatal(err)
	}
	for _, host := range pool.Hosts() {
		fmt.Println(host.Name, host.URL, host.Master)
	}
	fmt.Println("logged in by way of", former.Name)
	fmt.Println(client.Close(), pool.Close())
	// Output:
	// alpha https://pool.invalid false
	// beta https://127.0.0.2 true
	// logged in by way of alpha
	// <nil> <nil>
}

// Faults may strike in a rhythm, and what is left behind fails Close unless it is
// expected.
func ExamplePool_Expire() {
	pool, err := xapitest.Start(xapitest.Inventory{VMs: xapitest.Fleet(3)}, nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err := xapi.Dial(context.Background(), pool.URL(), &xapi.Options{Password: xapi.Secret(pool.Password())})
	if err != nil {
		log.Fatal(err)
	}
	pool.Expire("VM.get_name_label", xapitest.Every(2))
	for _, vm := range pool.VMs() {
		var name string
		if err := client.Call(context.Background(), "VM.get_name_label", &name, vm.Ref); err != nil {
			log.Fatal(err)
		}
		fmt.Println(name)
	}
	if err := client.Call(context.Background(), "VM.add_to_blocked_operations", nil, pool.VMs()[0].Ref, "migrate_send", "backup"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(pool.Leaks()), "leak")
	pool.Expect("migrate_send is blocked")
	fmt.Println(client.Close(), pool.Close())
	// Output:
	// vm-00001
	// vm-00002
	// vm-00003
	// 1 leak
	// <nil> <nil>
}
