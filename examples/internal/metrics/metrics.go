// Package metrics counts, and writes the counts as Prometheus reads them: the text
// format 0.0.4, for the example programs.
package metrics

import (
	"bufio"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// ContentType is the media type of what [Registry.Write] writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Registry is a list of families. The zero value is empty. Everything may be used
// concurrently.
type Registry struct {
	mu       sync.Mutex
	families []*Family
}

// Family is a metric, with one number for each combination of values of its labels.
type Family struct {
	name, help, kind string
	labels           []string

	mu     sync.Mutex
	values map[string]float64 // by the labels as they are written
}

// Counter adds a family of numbers that only grow. Its name ends in _total.
func (r *Registry) Counter(name, help string, labels ...string) *Family {
	return r.family(name, help, "counter", labels)
}

// Gauge adds a family of numbers that rise and fall.
func (r *Registry) Gauge(name, help string, labels ...string) *Family {
	return r.family(name, help, "gauge", labels)
}

func (r *Registry) family(name, help, kind string, labels []string) *Family {
	f := &Family{name: name, help: help, kind: kind, labels: labels, values: map[string]float64{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.families = append(r.families, f)
	return f
}

// Add adds to the number with these values of the labels, in their order; one that
// is not there yet begins at 0. It panics when a value is missing.
func (f *Family) Add(n float64, values ...string) {
	key := f.key(values)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[key] += n
}

// Set replaces the number with these values of the labels.
func (f *Family) Set(n float64, values ...string) {
	key := f.key(values)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[key] = n
}

// Reset forgets all numbers: for gauges of things that come and go.
func (f *Family) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.values)
}

func (f *Family) key(values []string) string {
	if len(values) != len(f.labels) {
		panic("metrics: " + f.name + ": one value for each label is needed")
	}
	if len(values) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteByte('{')
	for i, label := range f.labels {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(label + `="` + escape.Replace(values[i]) + `"`)
	}
	return b.String() + "}"
}

var (
	escape     = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	escapeHelp = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
)

// Write writes all families that have a number, in the order they were added.
func (r *Registry) Write(w io.Writer) error {
	r.mu.Lock()
	families := slices.Clone(r.families)
	r.mu.Unlock()
	b := bufio.NewWriter(w)
	for _, f := range families {
		f.write(b)
	}
	return b.Flush()
}

// write leaves errors to Flush, which repeats the first.
func (f *Family) write(b *bufio.Writer) {
	f.mu.Lock()
	values := maps.Clone(f.values)
	f.mu.Unlock()
	if len(values) == 0 {
		return
	}
	_, _ = b.WriteString("# HELP " + f.name + " " + escapeHelp.Replace(f.help) + "\n# TYPE " + f.name + " " + f.kind + "\n")
	for _, key := range slices.Sorted(maps.Keys(values)) {
		_, _ = b.WriteString(f.name + key + " " + strconv.FormatFloat(values[key], 'g', -1, 64) + "\n")
	}
}

// Handler serves the families, after collect, which may be nil, has set those that
// are looked up.
func (r *Registry) Handler(collect func()) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if collect != nil {
			collect()
		}
		w.Header().Set("Content-Type", ContentType)
		_ = r.Write(w) // who asked is gone
	})
}
