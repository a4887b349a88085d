package task

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// Filter says which runs are wanted; what is not set does not count.
type Filter struct {
	Job    string // id
	VM     string // uuid: a task of the run is about it
	Status Status
	Text   string // within the JSON of the run, upper or lower case
	Since  time.Time
}

// Runs yields the runs that f wants, all for nil, newest first. A run that never
// ended and is not under way in this Log was interrupted, and so were its tasks. A
// run that cannot be read is yielded as an error, and the others follow; a last line
// that was torn off is left out.
func (l *Log) Runs(f *Filter) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		entries, err := os.ReadDir(l.dir)
		if err != nil {
			yield(nil, fmt.Errorf("task: log: %w", err))
			return
		}
		for _, e := range slices.Backward(entries) { // their names begin with the time
			id, ok := strings.CutSuffix(e.Name(), suffix)
			if !ok {
				continue
			}
			r, err := l.Run(id)
			if err == nil && (r == nil || !f.wants(r)) {
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// Run returns one run, nil if nothing of it was written. A missing one gives
// fs.ErrNotExist.
func (l *Log) Run(id string) (*Record, error) {
	if strings.ContainsAny(id, `/\`) { // ids come from clients too
		return nil, fmt.Errorf("task: log of run %q: %w", id, fs.ErrNotExist)
	}
	l.mu.Lock()
	_, running := l.open[id]
	text, err := os.ReadFile(l.name(id))
	l.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("task: log: %w", err)
	}
	r, err := replay(text)
	if err != nil {
		return nil, fmt.Errorf("task: log of run %s: %w", id, err)
	}
	if r != nil && !running {
		r.interrupt()
	}
	return r, nil
}

// replay makes the record of a run from its events.
func replay(text []byte) (root *Record, err error) {
	tasks := map[string]*Record{}
	for n := 1; len(text) > 0; n++ {
		one, rest, whole := bytes.Cut(text, []byte("\n"))
		var l line
		if err := json.Unmarshal(one, &l); err != nil {
			if !whole || len(rest) == 0 {
				break // torn
			}
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		text = rest
		if l.Kind == EventStart {
			r := &Record{ID: l.ID, Message: l.Name, Data: l.Data, Start: l.Time, Status: Pending}
			tasks[l.ID] = r
			if parent := tasks[l.Parent]; parent != nil {
				parent.Tasks = append(parent.Tasks, r)
			} else if root == nil && l.Job != nil {
				root = r
				r.Message, r.JobID, r.JobName, r.ScheduleID = "backup", l.Job.ID, l.Job.Name, l.Job.ScheduleID
			}
			continue
		}
		if r := tasks[l.ID]; r != nil {
			r.apply(l)
		}
	}
	return root, nil
}

// apply adds an event of a task that has started.
func (r *Record) apply(l line) {
	message := Message{l.Message, maps.Clone(l.Data)}
	switch l.Kind {
	case EventInfo:
		r.Infos = append(r.Infos, message)
	case EventWarning:
		r.Warnings = append(r.Warnings, message)
	case EventEnd:
		r.End, r.Status = l.Time, l.Status
		if len(l.Result) > 0 {
			r.Result = l.Result
		}
	case EventStart, EventProgress:
	}
}

// interrupt ends what never ended.
func (r *Record) interrupt() {
	if r.Status == Pending {
		r.Status = Interrupted
	}
	for _, c := range r.Tasks {
		c.interrupt()
	}
}

func (f *Filter) wants(r *Record) bool {
	switch {
	case f == nil:
		return true
	case f.Job != "" && r.JobID != f.Job,
		f.Status != "" && r.Status != f.Status,
		r.Start < millis(f.Since),
		f.VM != "" && !r.isAbout(f.VM):
		return false
	case f.Text == "":
		return true
	}
	text, err := json.Marshal(r)
	return err == nil && bytes.Contains(bytes.ToLower(text), bytes.ToLower([]byte(f.Text)))
}

// isAbout says that a task of the tree is about an object.
func (r *Record) isAbout(id string) bool {
	return r.Data["id"] == id || slices.ContainsFunc(r.Tasks, func(c *Record) bool { return c.isAbout(id) })
}
