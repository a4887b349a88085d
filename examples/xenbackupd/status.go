package main

import (
	"maps"
	"slices"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/live"
	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/schedule"
)

// status is what /status shows.
type status struct {
	Started   time.Time        `json:"started"`
	Stopping  bool             `json:"stopping"`
	Schedules []scheduleStatus `json:"schedules"`
	Runs      []live.Run       `json:"runs"`
	Pools     []poolStatus     `json:"pools"`
	Slots     []slotStatus     `json:"slots"`
	Memory    memoryStatus     `json:"memory"`
}

// scheduleStatus is how a schedule stands, or a job that has none.
type scheduleStatus struct {
	Name    string     `json:"name,omitempty"`
	Job     string     `json:"job,omitempty"`
	Enabled bool       `json:"enabled"`
	Next    *time.Time `json:"next,omitempty"`
	Running bool       `json:"running"`
	Waiting bool       `json:"waiting"`
	Last    *lastRun   `json:"last,omitempty"` // since the program was started
}

type lastRun struct {
	Ended  time.Time   `json:"ended"`
	Status task.Status `json:"status"`
	Error  string      `json:"error,omitempty"`
}

type poolStatus struct {
	Name      string `json:"name"`
	Connected bool   `json:"connected"`
	Error     string `json:"error,omitempty"`
}

type slotStatus struct {
	Pool      string      `json:"pool"`
	Operation pipeline.Op `json:"operation"`
	Limit     int         `json:"limit"` // 0 is none
	InUse     int         `json:"in_use"`
	Waiting   int         `json:"waiting"`
	Longest   float64     `json:"longest_wait_seconds"` // of those who wait

	waited float64
}

type memoryStatus struct {
	InUse int64 `json:"in_use"`
	Limit int64 `json:"limit"`
}

func (d *daemon) status() status {
	st := status{
		Started: d.started, Stopping: d.stopping.Load(), Runs: d.runs.Active(), Slots: d.slots(),
		Memory: memoryStatus{d.budget.InUse(), d.budget.Limit()},
	}
	for _, own := range d.scheduler.Status() {
		st.Schedules = append(st.Schedules, d.scheduleStatus(own))
	}
	for _, name := range slices.Sorted(maps.Keys(d.pools)) {
		connected, err := d.pools[name].state()
		own := poolStatus{Name: name, Connected: connected}
		if err != nil {
			own.Error = err.Error()
		}
		st.Pools = append(st.Pools, own)
	}
	return st
}

func (d *daemon) scheduleStatus(own schedule.Status) scheduleStatus {
	st := scheduleStatus{Name: own.ID, Enabled: own.Enabled, Running: own.Running, Waiting: own.Waiting}
	if conf := d.conf.Schedules[own.ID]; conf != nil {
		st.Job = conf.Job
	} else {
		for job := range d.conf.Jobs {
			if byHand(job) == own.ID {
				st.Name, st.Job, st.Enabled = "", job, false
			}
		}
	}
	if !own.Next.IsZero() {
		st.Next = &own.Next
	}
	if !own.Ended.IsZero() {
		st.Last = &lastRun{Ended: own.Ended, Status: statusOf(own.LastErr)}
		if own.LastErr != nil {
			st.Last.Error = own.LastErr.Error()
		}
	}
	return st
}

func (d *daemon) slots() []slotStatus {
	var all []slotStatus
	for _, name := range slices.Sorted(maps.Keys(d.pools)) {
		for _, op := range []pipeline.Op{pipeline.OpSnapshot, pipeline.OpDiskExport, pipeline.OpVMExport} {
			key := pipeline.Key{Pool: name, Op: op}
			f := d.limiter.Figures(key)
			all = append(all, slotStatus{
				Pool: name, Operation: op, Limit: f.Limit, InUse: f.InUse, Waiting: f.Waiting,
				Longest: f.Longest.Seconds(), waited: f.Waited.Seconds(),
			})
		}
	}
	return all
}

// look sets the metrics that are looked up.
func (d *daemon) look() {
	to := &d.counts.looked
	to.active.Set(float64(len(d.runs.Active())))
	to.memory.Set(float64(d.budget.InUse()))
	to.limit.Set(float64(d.budget.Limit()))
	to.next.Reset()
	for _, own := range d.scheduler.Status() {
		if !own.Next.IsZero() {
			to.next.Set(seconds(own.Next), own.ID)
		}
	}
	for name, p := range d.pools {
		connected, _ := p.state()
		to.connected.Set(map[bool]float64{true: 1}[connected], name)
	}
	for _, slot := range d.slots() {
		to.inUse.Set(float64(slot.InUse), slot.Pool, string(slot.Operation))
		to.waiting.Set(float64(slot.Waiting), slot.Pool, string(slot.Operation))
		to.waited.Set(slot.waited, slot.Pool, string(slot.Operation))
	}
}
