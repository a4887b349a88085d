package pipeline_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// pageEnd is far enough in a page for nobody to quote it.
const pageEnd = "the end of the page"

func page(status int) xapitest.Reply {
	return xapitest.Reply{Status: status, Body: "<html>no pool here" + strings.Repeat(" and nothing", 500) + pageEnd}
}

// replies are what stands between a client and a pool may answer.
func replies() map[string]xapitest.Reply {
	all := map[string]xapitest.Reply{"200": page(http.StatusOK)}
	for _, status := range []int{
		http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable,
	} {
		all[fmt.Sprint(status)] = page(status)
	}
	done := page(http.StatusBadGateway)
	done.Done = true
	all["502 after it was done"] = done
	slow := page(http.StatusServiceUnavailable)
	slow.Pause = 20 * time.Second // for each line: less than a stall
	all["503, slowly"] = slow
	typed := page(http.StatusOK)
	typed.Header = map[string]string{"Content-Type": "application/json"}
	all["200, a page that says it is JSON"] = typed
	return all
}

// heard is what was logged.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.String()
}

func (h *heard) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(h, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// inReplyLab is inLab with a log of client and runs, in which there must be no page
// and no secret in the end.
func inReplyLab(t *testing.T, opts labOptions, test func(l *lab)) {
	t.Helper()
	var log heard
	dial := opts.dial
	opts.dial = func(o *xapi.Options) {
		o.Logger = log.logger()
		if dial != nil {
			dial(o)
		}
	}
	inLab(t, opts, func(l *lab) {
		l.opts.Logger = log.logger()
		test(l)
		text := log.String()
		require.NotEmpty(l.t, text)
		require.NotContains(l.t, text, pageEnd)
		require.NotContains(l.t, text, l.pool.Password())
		require.NotContains(l.t, text, "session_id=")
	})
}

// Whatever answers in the pool's place at any call: the run may fail, but leaves
// nothing, and the next one succeeds.
func TestAnswersOfOthersAtEachCallOfAJob(t *testing.T) {
	t.Parallel()
	for i, name := range slices.Sorted(maps.Keys(replies())) {
		reply := replies()[name]
		stride := faultStride(t, 101)
		for _, mode := range []string{pipeline.ModeDelta, pipeline.ModeFull} {
			if stride > 1 && (mode == pipeline.ModeFull) != (i%2 == 1) {
				continue // one for each reply
			}
			t.Run(mode+", "+name, func(t *testing.T) {
				t.Parallel()
				inReplyLab(t, labOptions{mode: mode}, func(l *lab) {
					l.succeeds()
					calls := len(l.pool.Calls())
					l.succeeds()
					calls = len(l.pool.Calls()) - calls
					for n := 1 + i*3%stride; n < calls-3; n += stride {
						l.write(0, mib, mib, byte(n))
						l.pool.Reply("*", xapitest.OnCall(n), reply)
						l.either(name, n)
						l.succeeds(name, n)
					}
				})
			})
		}
	}
}
