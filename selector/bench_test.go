package selector_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/selector"
)

// fleet is ten thousand VMs in ten pools.
func fleet() *selector.Inventory {
	inv := &selector.Inventory{}
	for i := range 10 {
		inv.Pools = append(inv.Pools, selector.Pool{ID: fmt.Sprint("pool", i), Connected: true})
	}
	for i := range 10_000 {
		inv.VMs = append(inv.VMs, selector.VM{
			"type": "VM", "id": fmt.Sprintf("00000000-0000-4000-8000-%012d", i), "name_label": fmt.Sprintf("Machine %d of %d", i, i%7),
			"power_state": []string{"Running", "Halted"}[i%2], "$pool": fmt.Sprint("pool", i%10), "memory": map[string]any{"size": float64(i << 20)},
			"tags": []any{fmt.Sprint("team", i%20), []string{"prod", "test", "Disaster Recovery"}[i%3]}, "other": map[string]any{}, "blockedOperations": map[string]any{},
		})
	}
	return inv
}

func BenchmarkSelectOf10000(b *testing.B) {
	inv := fleet()
	var ids []string
	for _, vm := range inv.VMs {
		ids = append(ids, vm.ID())
	}
	smart, err := selector.Smart{PowerState: "Running", Pools: []string{"pool2", "pool4"}, AnyTags: []string{"prod", "test"}, NoTags: []string{selector.TagReplica, selector.TagRecovery}}.Pattern()
	require.NoError(b, err)
	run := func(name string, s *selector.Selector, err error) {
		b.Run(name, func(b *testing.B) {
			require.NoError(b, err)
			chosen := 0
			for b.Loop() {
				chosen = len(s.Select(inv).VMs)
			}
			require.NotZero(b, chosen)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(inv.VMs)), "ns/VM")
		})
	}
	s, err := selector.ByPattern(smart, nil)
	run("Smart", s, err)
	s, err = selector.ByQuery(query(b, `power_state:running tags:/^prod$/ !tags:recovery memory:size:>1000`), nil)
	run("Query", s, err)
	s, err = selector.ByQuery(query(b, `machine`), nil)
	run("AnyText", s, err)
	s, err = selector.ByIDs(ids, nil)
	run("IDs", s, err)
	s, err = selector.ByPattern(pattern(b, `{"type":"VM","id":{"__or":["`+strings.Join(ids, `","`)+`"]}}`), nil)
	run("IDsInPattern", s, err)
}

func BenchmarkExplain(b *testing.B) {
	inv := fleet()
	s := byPattern(b, `{"type":"VM","power_state":"Running","tags":{"__not":{"__or":[["a"],["b"]]}}}`, nil)
	for b.Loop() {
		s.Explain(inv.VMs[0])
	}
}
