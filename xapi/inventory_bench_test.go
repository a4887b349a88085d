package xapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

const benchVMs = 10_000 // each with two disks and an interface

// crowd is a pool without a network that has many VMs, all after the model of one of a simulated pool. Its answers are written while
// they are read, so that only the client's memory is seen.
type crowd struct {
	head   string            // the events of all other objects
	events []string          // of the one VM, its metrics aside
	record map[string]string // one of get_all_records, by class
	own    []string          // the references and UUIDs that each VM has of its own
}

func newCrowd(b *testing.B) *crowd {
	b.Helper()
	p := xapitest.NewPool(b, xapitest.Inventory{VMs: []xapitest.VM{{
		Name: "web-server-production", Disks: []xapitest.Disk{{Name: "root", Size: 1 << 20}, {Name: "data", Size: 1 << 20}}, VIFs: []xapitest.VIF{{}},
		OtherConfig: map[string]string{"xo:backup:job": "8f1b7a3c-3c5a-4b0e-9d8b-0f6f0a6a2f10", "auto_poweron": "true"},
	}}})
	var answer struct{ Events []json.RawMessage }
	classes := []string{"vm", "vdi", "vbd", "sr", "pbd", "pool", "host", "network", "vif", "pif"}
	require.NoError(b, p.Client(b).Call(b.Context(), "event.from", &answer, classes, "", 0.1))
	c := &crowd{record: make(map[string]string)}
	vm := p.VM("web-server-production")
	c.own = []string{vm.Ref, vm.UUID}
	var heads []string
	for _, text := range answer.Events {
		var event struct {
			Class, Ref string
			Snapshot   json.RawMessage
		}
		require.NoError(b, json.Unmarshal(text, &event))
		var object struct {
			UUID string   `json:"uuid"`
			VM   string   `json:"VM"`
			VBDs []string `json:"VBDs"`
			Dom0 bool     `json:"is_control_domain"`
		}
		require.NoError(b, json.Unmarshal(event.Snapshot, &object))
		if event.Ref == vm.Ref || object.VM == vm.Ref || event.Class == "vdi" {
			c.own = append(c.own, event.Ref, object.UUID)
			c.events = append(c.events, string(text))
			c.record[event.Class] = fmt.Sprintf("%q:%s", event.Ref, event.Snapshot)
		} else {
			heads = append(heads, string(text))
		}
	}
	require.Len(b, c.events, 6)
	c.head = strings.Join(heads, ",")
	return c
}

func (c *crowd) client(b *testing.B) *xapi.Client {
	b.Helper()
	var server sync.WaitGroup
	b.Cleanup(server.Wait)
	client, err := xapi.Dial(b.Context(), "pool.invalid", &xapi.Options{Transport: transport(func(r *http.Request) (*http.Response, error) {
		var call struct {
			Method string
			Params []any
		}
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			return nil, err
		}
		if call.Method == "event.from" && call.Params[2] != "" {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		in, out := io.Pipe()
		server.Go(func() {
			w := bufio.NewWriterSize(out, 64<<10)
			c.write(w, call.Method)
			_ = w.Flush()
			_ = out.Close()
		})
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: in, Request: r}, nil
	})})
	require.NoError(b, err)
	b.Cleanup(func() { _ = client.Close() })
	return client
}

type transport func(r *http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (c *crowd) write(w io.Writer, method string) {
	_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":`)
	defer func() { _, _ = io.WriteString(w, "}") }()
	switch method {
	case "event.from":
		_, _ = io.WriteString(w, `{"events":[`+c.head)
		for i := range benchVMs {
			for _, event := range c.events {
				_, _ = io.WriteString(w, ",")
				_, _ = c.replacer(i).WriteString(w, event)
			}
		}
		_, _ = io.WriteString(w, `],"valid_ref_counts":{},"token":"1"}`)
	case "VM.get_all_records":
		separator := "{"
		for i := range benchVMs {
			_, _ = io.WriteString(w, separator)
			_, _ = c.replacer(i).WriteString(w, c.record["vm"])
			separator = ","
		}
		_, _ = io.WriteString(w, "}")
	default:
		_, _ = io.WriteString(w, `"OpaqueRef:x"`)
	}
}

// replacer gives the objects of one VM names of their own.
func (c *crowd) replacer(i int) *strings.Replacer {
	var pairs []string
	for _, name := range c.own {
		pairs = append(pairs, name, name[:len(name)-12]+fmt.Sprintf("%012x", i))
	}
	return strings.NewReplacer(pairs...)
}

func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// reportHeap reports what is left after a collection, above the bytes that were there before.
func reportHeap(b *testing.B, before uint64) {
	b.Helper()
	runtime.GC()
	b.ReportMetric(float64(int64(heapBytes())-int64(before))/(1<<20), "heap-MiB") // far from overflow
}

// BenchmarkInventory is the first synchronisation with 10,000 VMs, 20,000 VBDs and VDIs and 10,000 VIFs.
func BenchmarkInventory(b *testing.B) {
	c := newCrowd(b)
	client := c.client(b)
	runtime.GC()
	before := heapBytes()
	var text counter
	c.write(&text, "event.from")
	b.SetBytes(int64(text))
	for b.Loop() {
		inv, err := client.Inventory(b.Context())
		require.NoError(b, err)
		b.StopTimer()
		reportHeap(b, before)
		s := inv.Snapshot()
		require.Equal(b, benchVMs+1, s.VMs.Len())
		require.Equal(b, 2*benchVMs, s.VDIs.Len())
		require.NoError(b, inv.Close())
		b.StartTimer()
	}
}

// BenchmarkAll reads the records of 10,000 VMs.
func BenchmarkAll(b *testing.B) {
	c := newCrowd(b)
	client := c.client(b)
	runtime.GC()
	before := heapBytes()
	var text counter
	c.write(&text, "VM.get_all_records")
	b.SetBytes(int64(text))
	for b.Loop() {
		vms, err := xapi.All[xapi.VM](b.Context(), client)
		require.NoError(b, err)
		b.StopTimer()
		reportHeap(b, before)
		require.Len(b, vms, benchVMs)
		b.StartTimer()
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

// BenchmarkRecord decodes one VM.
func BenchmarkRecord(b *testing.B) {
	_, text, _ := strings.Cut(newCrowd(b).record["vm"], ":{")
	vm := []byte("{" + text)
	b.SetBytes(int64(len(vm)))
	b.ReportAllocs()
	for b.Loop() {
		var record xapi.VM
		if err := json.Unmarshal(vm, &record); err != nil {
			b.Fatal(err)
		}
	}
}
