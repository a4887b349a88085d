package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"time"

	"github.com/xenbackup/xenbackup/pipeline/task"
)

const (
	recalled  = 35 * 24 * time.Hour // how old a run may be to count at the start
	shownRuns = 50                  // that /runs lists
)

// recall sets the metrics of the last runs, which monitoring compares with now, as they
// were before the program was started.
func (d *daemon) recall() {
	seen := map[[2]string]bool{}
	for r, err := range d.story().Runs(&task.Filter{Since: time.Now().Add(-recalled)}) {
		if err != nil {
			d.log.Warn("a run of before cannot be read", "error", err)
			continue
		}
		job := d.counts.nameOf(r.JobID)
		key := [2]string{job, string(r.Status)}
		if job == "" || r.End == 0 || seen[key] {
			continue
		}
		seen[key] = true
		d.counts.last.Set(float64(r.End)/1000, job, string(r.Status))
	}
}

// showRuns lists the last runs that are asked for, without their tasks.
func (d *daemon) showRuns(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	filter := &task.Filter{VM: q.Get("vm"), Status: task.Status(q.Get("status")), Text: q.Get("text")}
	if name := q.Get("job"); name != "" {
		job := d.current().conf.Job(name)
		if job == nil {
			http.Error(w, fmt.Sprintf("there is no job %q", name), http.StatusNotFound)
			return
		}
		filter.Job = job.ID
	}
	runs := []*task.Record{}
	for run, err := range d.story().Runs(filter) {
		if err != nil {
			d.log.WarnContext(r.Context(), "a run cannot be read", "error", err)
			continue
		}
		run.Tasks = nil
		if runs = append(runs, run); len(runs) == shownRuns {
			break
		}
	}
	answer(w, runs)
}

func (d *daemon) showRun(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("run")
	if filepath.Base(id) != id {
		id = "-" // nothing outside of the log is a run
	}
	run, err := d.story().Run(id)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && run == nil:
		http.Error(w, "no such run", http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		answer(w, run)
	}
}
