package pipeline_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// restartTime is how long hosts take no connections in these tests: as a real one.
const restartTime = 15 * time.Second

// At whichever call another host becomes the master, or the toolstack restarts: the
// run may fail, but the client is back within half a minute, what it had made is gone,
// and the next run succeeds.
func TestMasterChangesAtEachCallOfAJob(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]string{"delta": pipeline.ModeDelta, "full": pipeline.ModeFull} {
		for what, script := range map[string]func(l *lab, n int){
			"another master": func(l *lab, n int) {
				other := "beta"
				if l.pool.Hosts()[1].Master {
					other = "alpha"
				}
				l.pool.MoveMaster("*", xapitest.OnCall(n), other)
			},
			"restart": func(l *lab, n int) { l.pool.Restart("*", xapitest.OnCall(n)) },
		} {
			stride := faultStride(t, 61)
			if stride > 1 && (mode == pipeline.ModeFull) != (what == "restart") {
				continue // one for each mode
			}
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				inLab(t, labOptions{mode: mode, pool: xapitest.Options{RestartTime: restartTime}}, func(l *lab) {
					l.succeeds()
					calls := len(l.pool.Calls())
					l.succeeds()
					calls = len(l.pool.Calls()) - calls
					require.Greater(t, calls, 30)
					for n := 1 + calls%stride; n < calls-2; n += stride {
						l.write(0, mib, mib, byte(n))
						script(l, n)
						begin := time.Now()
						survived := l.either(what, n)
						require.LessOrEqual(t, time.Since(begin), 5*time.Minute, "%s at call %d", what, n)
						if !survived {
							require.NoError(l.t, l.client.Call(l.t.Context(), "VM.get_name_label", nil, l.vm().Ref))
						}
						l.succeeds(what, n)
					}
				})
			})
		}
	}
}
