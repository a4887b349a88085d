package pipeline_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// However often sessions end, the job succeeds, with one login for each of them.
func TestSessionsThatEndEveryFewCallsOfAJob(t *testing.T) {
	t.Parallel()
	stride := faultStride(t, 32)
	for k := 1; k <= 50; k += stride {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			t.Parallel()
			// one disk at a time: of two callers one would meet every end
			inLab(t, labOptions{settings: `{"diskPerVmConcurrency":1}`}, func(l *lab) {
				l.pool.Expire("*", xapitest.Every(k+1)) // after k calls that succeed
				before := len(l.pool.Calls())
				l.succeeds()
				l.succeeds()
				logins, calls := 0, 0
				for _, call := range l.pool.Calls()[before:] {
					switch call.Method {
					case "session.login_with_password":
						logins++
					case "session.logout":
					default:
						calls++
					}
				}
				require.LessOrEqual(l.t, logins, calls/(k+1)+1)
			})
		})
	}
}

// A task that never ends, even when it is cancelled, ends the run at its deadline.
func TestTasksThatNeverEndKeepTheDeadline(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		script func(l *lab)
	}{
		{"hangs", func(l *lab) { l.pool.Hang("VM.snapshot", xapitest.OnCall(1)) }},
		{"hangs in a flood of events", func(l *lab) {
			l.pool.Flood("event.from", xapitest.EachCall())
			l.pool.Hang("VM.snapshot", xapitest.OnCall(1))
		}},
		{"export does not begin", func(l *lab) { l.pool.Hang("GET /export_raw_vdi", xapitest.OnCall(1)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inLab(t, labOptions{settings: `{"vmTimeout":120000}`}, func(l *lab) {
				l.succeeds()
				c.script(l)
				begin := time.Now()
				l.fails(pipeline.ErrVMTimeout)
				require.LessOrEqual(l.t, time.Since(begin), 2*time.Minute+30*time.Second)
				l.succeeds()
			})
		})
	}
}
