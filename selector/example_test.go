package selector_test

import (
	"errors"
	"fmt"

	"github.com/xenbackup/xenbackup/selector"
)

var inventory = &selector.Inventory{
	VMs: []selector.VM{
		{"type": "VM", "id": "u1", "name_label": "web", "power_state": "Running", "$pool": "p1", "tags": []any{"prod"}},
		{"type": "VM", "id": "u2", "name_label": "db", "power_state": "Halted", "$pool": "p1", "tags": []any{"prod", "db"}},
		{"type": "VM", "id": "u3", "name_label": "scratch", "power_state": "Running", "$pool": "p1", "tags": []any{"prod", "xo:no-bak=scratch data"}},
		{"type": "VM", "id": "u4", "name_label": "lab", "power_state": "Running", "$pool": "p1", "tags": []any{}},
	},
	Pools: []selector.Pool{{ID: "p1", Name: "Paris", Connected: true}, {ID: "p2", Name: "Grenoble"}},
}

// The pattern is that of a job in smart mode. It is asked what it chooses, and why.
func Example() {
	pattern, err := selector.ParsePattern([]byte(`{
		"type": "VM",
		"power_state": "Running",
		"tags": {"__and": [{"__or": [["prod"], ["db"]]}, {"__not": {"__or": [["Disaster Recovery"]]}}]}
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	nightly, err := selector.ByPattern(pattern, &selector.Options{Job: "nightly"})
	if err != nil {
		fmt.Println(err)
		return
	}
	selection := nightly.Select(inventory)
	for _, vm := range selection.VMs {
		fmt.Println("chosen:", vm.Name())
	}
	fmt.Println(selection.Err())
	for _, vm := range inventory.VMs {
		fmt.Println(nightly.Explain(vm))
	}
	// Output:
	// chosen: web
	// selector: pool not connected, its VMs are not known: "Grenoble" (p2)
	// "web" (u1) is in: power_state is "Running", tags has "prod", tags has no "Disaster Recovery", type is "VM"
	// "db" (u2) is out: power_state is "Halted", not "Running"
	// "scratch" (u3) is out: it is tagged xo:no-bak: scratch data
	// "lab" (u4) is out: tags has none of "prod", "db"
}

func ExampleParseQuery() {
	query, err := selector.ParseQuery(`power_state:running !(tags:/^prod$/ name_label:db*)`)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, vm := range inventory.VMs {
		if query.Match(map[string]any(vm)) {
			fmt.Println(vm.Name())
		}
	}
	_, err = selector.ParseQuery(`tags:(prod`)
	fmt.Println(err)
	// Output:
	// web
	// scratch
	// lab
	// selector: query "tags:(prod": at character 6: the parenthesis is not closed
}

func ExampleByIDs() {
	byHand, err := selector.ByIDs([]string{"u2", "u9"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	selection := byHand.Select(inventory)
	fmt.Println(len(selection.VMs), errors.Is(selection.Err(), selector.ErrVMMissing))
	fmt.Println(selection.Err())
	// Output:
	// 1 true
	// selector: VM not found: u9: perhaps it is in a pool that is not connected: "Grenoble" (p2)
}

func ExampleSmart() {
	pattern, err := selector.Smart{
		PowerState: "Running",
		AnyTags:    []string{"prod", "db"},
		NoTags:     []string{selector.TagReplica, selector.TagRecovery},
	}.Pattern()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(pattern)
	// Output:
	// {"type":"VM","power_state":"Running","tags":{"__and":[{"__or":[["prod"],["db"]]},{"__not":{"__or":[["Continuous Replication"],["Disaster Recovery"]]}}]}}
}

func ExampleCoverage() {
	query, err := selector.ParseQuery("tags:db")
	if err != nil {
		fmt.Println(err)
		return
	}
	databases, err := selector.ByQuery(query, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, vm := range selector.Coverage(inventory.VMs, []selector.Job{{Name: "databases", Selector: databases}}) {
		fmt.Println(vm.VM.Name(), vm.Intended, vm.Reasons)
	}
	// Output:
	// lab false [databases: tags, empty, does not contain "db"]
	// scratch true [databases: tags, "prod", "xo:no-bak=scratch data", does not contain "db"]
	// web false [databases: tags, "prod", does not contain "db"]
}
