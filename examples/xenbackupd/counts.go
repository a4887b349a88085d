package main

import (
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/config"
	"github.com/xenbackup/xenbackup/examples/internal/metrics"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/schedule"
	"github.com/xenbackup/xenbackup/xapi"
)

// counts are the numbers at /metrics. It is a [task.Observer].
type counts struct {
	registry metrics.Registry

	ended, vms, warnings, written *metrics.Family
	took, last                    *metrics.Family
	passed, calls, moved          *metrics.Family
	looked                        looked

	mu    sync.Mutex
	names map[string]string   // of jobs, by their ids
	runs  map[string]*counted // by the run's id
}

// looked are what is looked up when somebody asks.
type looked struct {
	active, next, connected, memory, limit *metrics.Family
	inUse, waiting, waited                 *metrics.Family
	unprotected, covered, reloaded         *metrics.Family
}

// counted is what is known of a run that is under way.
type counted struct {
	job   string
	began time.Time
	done  map[string]int64 // by the id of the task that moves bytes
}

// use takes the names of jobs from a configuration.
func (c *counts) use(conf *config.Config) {
	names := map[string]string{}
	for name := range conf.Jobs {
		names[conf.Job(name).ID] = name
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names = names
}

// nameOf is the name of a job, "" for one that the configuration does not have.
func (c *counts) nameOf(id string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.names[id]
}

func newCounts() *counts {
	c := &counts{runs: map[string]*counted{}}
	r := &c.registry
	r.Gauge("xenbackup_start_time_seconds", "When the program was started.").Set(seconds(time.Now()))
	c.ended = r.Counter("xenbackup_runs_total", "Runs of jobs that have ended.", "job", "status")
	c.took = r.Gauge("xenbackup_run_duration_seconds", "How long the last run took.", "job")
	c.last = r.Gauge("xenbackup_run_end_time_seconds", "When the last run with this status ended.", "job", "status")
	c.vms = r.Counter("xenbackup_vms_total", "Backups of VMs that have ended.", "job", "status")
	c.warnings = r.Counter("xenbackup_warnings_total", "Warnings of runs.", "job")
	c.written = r.Counter("xenbackup_written_bytes_total", "Bytes written to repositories.", "job")
	c.passed = r.Counter("xenbackup_schedule_passed_total", "Times that were due and did not run: missed, or skipped since the job was running.", "schedule", "reason")
	c.calls = r.Counter("xenbackup_pool_calls_total", "Calls to a pool; an empty outcome is success.", "pool", "outcome")
	c.moved = r.Counter("xenbackup_pool_bytes_total", "Bytes of disks and archives read from a pool (down) and written to it (up).", "pool", "direction")
	c.looked = looked{
		active:    r.Gauge("xenbackup_runs_active", "Runs that are under way."),
		next:      r.Gauge("xenbackup_schedule_next_time_seconds", "When a schedule is due next.", "schedule"),
		connected: r.Gauge("xenbackup_pool_connected", "1 when the pool is logged in to, which happens when a job needs it.", "pool"),
		inUse:     r.Gauge("xenbackup_slots_in_use", "Slots of the limits that are taken.", "pool", "operation"),
		waiting:   r.Gauge("xenbackup_slots_waiting", "How many wait for a slot.", "pool", "operation"),
		waited:    r.Counter("xenbackup_slots_waited_seconds_total", "How long those who got a slot had waited for it.", "pool", "operation"),
		memory:    r.Gauge("xenbackup_buffer_bytes", "Bytes of blocks on their way."),
		limit:     r.Gauge("xenbackup_buffer_limit_bytes", "How many that may be."),

		unprotected: r.Gauge("xenbackup_unprotected_vms", "VMs that no job with a schedule backs up, without those that are tagged so."),
		covered:     r.Gauge("xenbackup_coverage_time_seconds", "When all pools were asked last for VMs that no job backs up."),
		reloaded:    r.Gauge("xenbackup_config_reload_successful", "1 when the configuration was taken into use at the last SIGHUP, 0 when it was refused."),
	}
	return c
}

// resetSlots forgets those of pools that are no longer in the configuration.
func (l *looked) resetSlots() {
	for _, f := range []*metrics.Family{l.inUse, l.waiting, l.waited} {
		f.Reset()
	}
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// pool counts what is said to a pool.
func (c *counts) pool(name string) *xapi.Metrics {
	return &xapi.Metrics{
		Call: func(m xapi.CallMetric) { c.calls.Add(1, name, m.Outcome) },
		Moved: func(up, down int) {
			c.moved.Add(float64(up), name, "up")
			c.moved.Add(float64(down), name, "down")
		},
	}
}

// Observe implements [task.Observer].
func (c *counts) Observe(e task.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Parent == "" && e.Kind == task.EventStart {
		job := c.names[e.Job.ID]
		c.runs[e.Run] = &counted{job: job, began: e.Time, done: map[string]int64{}}
		return
	}
	run := c.runs[e.Run]
	if run == nil {
		return
	}
	switch e.Kind {
	case task.EventProgress:
		if e.Name == "transfer" {
			c.written.Add(float64(e.Done-run.done[e.ID]), run.job)
			run.done[e.ID] = e.Done
		}
	case task.EventWarning:
		c.warnings.Add(1, run.job)
	case task.EventEnd:
		c.end(e, run)
	case task.EventStart, task.EventInfo:
	}
}

func (c *counts) end(e task.Event, run *counted) {
	switch {
	case e.Name == "backup VM":
		c.vms.Add(1, run.job, string(e.Status))
	case e.Parent == "":
		c.ended.Add(1, run.job, string(e.Status))
		c.took.Set(e.Time.Sub(run.began).Seconds(), run.job)
		c.last.Set(seconds(e.Time), run.job, string(e.Status))
		delete(c.runs, e.Run)
	}
}

// schedule counts what did not run.
func (c *counts) schedule(e schedule.Event) {
	switch e.Kind {
	case schedule.EventSkipped:
		c.passed.Add(1, e.Fire.Entry, "skipped")
	case schedule.EventMissed:
		c.passed.Add(1, e.Fire.Entry, "missed")
	case schedule.EventStarted, schedule.EventEnded, schedule.EventClock, schedule.EventUnsaved:
	}
}
