package main

import (
	"maps"
	"slices"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/config"
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
	Config    configStatus     `json:"config"`
	Coverage  coverageStatus   `json:"coverage"`
}

// configStatus is what became of the last SIGHUP.
type configStatus struct {
	File     string    `json:"file"`
	Reloaded time.Time `json:"reloaded,omitzero"` // or tried to be
	Error    string    `json:"error,omitempty"`
}

// coverageStatus are the VMs that no job with a schedule backs up.
type coverageStatus struct {
	Looked      time.Time     `json:"looked,omitzero"`
	Error       string        `json:"error,omitempty"` // pools that could not be asked
	Unprotected []unprotected `json:"unprotected"`
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
	g := d.current()
	st := status{
		Started: d.started, Stopping: d.stopping.Load(), Runs: d.runs.Active(), Slots: d.slots(g),
		Memory: memoryStatus{g.budget.InUse(), g.budget.Limit()}, Config: configStatus{File: g.conf.File},
	}
	var err error
	if st.Config.Reloaded, err = d.reloaded.last(); err != nil {
		st.Config.Error = err.Error()
	}
	if st.Coverage.Unprotected, st.Coverage.Looked, err = d.coverage.known(); err != nil {
		st.Coverage.Error = err.Error()
	}
	for _, own := range d.scheduler.Status() {
		st.Schedules = append(st.Schedules, scheduleStatusOf(g.conf, own))
	}
	for _, name := range slices.Sorted(maps.Keys(g.pools)) {
		connected, err := g.pools[name].state()
		own := poolStatus{Name: name, Connected: connected}
		if err != nil {
			own.Error = err.Error()
		}
		st.Pools = append(st.Pools, own)
	}
	return st
}

func scheduleStatusOf(in *config.Config, own schedule.Status) scheduleStatus {
	st := scheduleStatus{Name: own.ID, Enabled: own.Enabled, Running: own.Running, Waiting: own.Waiting}
	if conf := in.Schedules[own.ID]; conf != nil {
		st.Job = conf.Job
	} else {
		for job := range in.Jobs {
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

func (d *daemon) slots(g *generation) []slotStatus {
	var all []slotStatus
	for _, name := range slices.Sorted(maps.Keys(g.pools)) {
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
	to, g := &d.counts.looked, d.current()
	to.active.Set(float64(len(d.runs.Active())))
	to.memory.Set(float64(g.budget.InUse()))
	to.limit.Set(float64(g.budget.Limit()))
	to.next.Reset()
	for _, own := range d.scheduler.Status() {
		if !own.Next.IsZero() {
			to.next.Set(seconds(own.Next), own.ID)
		}
	}
	to.connected.Reset()
	for name, p := range g.pools {
		connected, _ := p.state()
		to.connected.Set(oneIf(connected), name)
	}
	to.resetSlots()
	for _, slot := range d.slots(g) {
		to.inUse.Set(float64(slot.InUse), slot.Pool, string(slot.Operation))
		to.waiting.Set(float64(slot.Waiting), slot.Pool, string(slot.Operation))
		to.waited.Set(slot.waited, slot.Pool, string(slot.Operation))
	}
	if n, at := d.coverage.count(); !at.IsZero() {
		to.unprotected.Set(float64(n))
		to.covered.Set(seconds(at))
	}
	if at, err := d.reloaded.last(); !at.IsZero() {
		to.reloaded.Set(oneIf(err == nil))
	}
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
