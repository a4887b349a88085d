package metrics_test

import (
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/examples/internal/metrics"
)

func ExampleRegistry() {
	var r metrics.Registry
	runs := r.Counter("runs_total", "Runs that have ended.", "job", "status")
	due := r.Gauge("due_seconds", "When it is due.")
	r.Gauge("never_seen", "It has no number.")
	runs.Add(2, "weekly", "success")
	runs.Add(1, "nightly", "failure")
	due.Set(1.5)
	_ = r.Write(os.Stdout)
	// Output:
	// # HELP runs_total Runs that have ended.
	// # TYPE runs_total counter
	// runs_total{job="nightly",status="failure"} 1
	// runs_total{job="weekly",status="success"} 2
	// # HELP due_seconds When it is due.
	// # TYPE due_seconds gauge
	// due_seconds 1.5
}

func TestWritesWhatPrometheusReads(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	odd := r.Gauge("odd", "a \\ and\na line", "name")
	odd.Set(math.Inf(1), "quote \" backslash \\ line\n")
	odd.Set(1<<53, "large")
	collected := false
	answer := httptest.NewRecorder()
	r.Handler(func() { collected = true }).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	require.True(t, collected)
	require.Equal(t, metrics.ContentType, answer.Header().Get("Content-Type"))
	require.Equal(t, `# HELP odd a \\ and\na line
# TYPE odd gauge
odd{name="large"} 9.007199254740992e+15
odd{name="quote \" backslash \\ line\n"} +Inf
`, answer.Body.String())

	odd.Reset()
	var b strings.Builder
	require.NoError(t, r.Write(&b))
	require.Empty(t, b.String())
	require.Panics(t, func() { odd.Set(1) })
}

func TestCountsOfManyAreNotLost(t *testing.T) {
	t.Parallel()
	var r metrics.Registry
	c := r.Counter("c_total", "c", "a")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 1000 {
				c.Add(1, fmt.Sprint(i%2))
			}
		})
	}
	wg.Wait()
	var b strings.Builder
	require.NoError(t, r.Write(&b))
	require.Contains(t, b.String(), `c_total{a="0"} 2000`)
}
