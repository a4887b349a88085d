package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Log keeps the story of runs in a directory: a file for each run, to which every
// event but progress is appended as a line of JSON. It is an [Observer]. What was
// told before the process was killed is there; what was told before the end of a VM
// is there also after a loss of power. A directory belongs to one Log at a time: of
// runs that another process is amid, it would say that they were interrupted.
type Log struct {
	dir string

	mu   sync.Mutex
	open map[string]*os.File // of runs under way, by id
	err  error
}

// suffix of the files of a log, whose names are the ids of the runs.
const suffix = ".jsonl"

// OpenLog opens the log in a directory, which is made if it is missing.
func OpenLog(dir string) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("task: log: %w", err)
	}
	return &Log{dir: dir, open: map[string]*os.File{}}, nil
}

// line is what is kept of an event.
type line struct {
	Kind    Kind            `json:"kind"`
	Time    int64           `json:"time"` // milliseconds since 1970
	ID      string          `json:"id"`
	Parent  string          `json:"parent,omitempty"`
	Name    string          `json:"name"`
	Job     *Job            `json:"job,omitempty"` // of the root
	Data    map[string]any  `json:"data,omitempty"`
	Message string          `json:"message,omitempty"`
	Status  Status          `json:"status,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
}

// Observe implements [Observer]. What cannot be written does not stop a run: see
// [Log.Err].
func (l *Log) Observe(e Event) {
	if e.Kind == EventProgress || e.Kind == EventWait {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.append(e); err != nil && l.err == nil {
		l.err = fmt.Errorf("task: log of run %s: %w", e.Run, err)
	}
}

func (l *Log) append(e Event) error {
	isRoot := e.Parent == ""
	text, err := encode(e, isRoot)
	if err != nil {
		return err
	}
	f := l.open[e.Run]
	begins := isRoot && e.Kind == EventStart
	if f == nil {
		if f, err = os.OpenFile(l.name(e.Run), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return err
		}
		l.open[e.Run] = f
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	if begins || e.Kind == EventEnd && (isRoot || e.Parent == e.Run) {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	switch {
	case begins:
		return syncDir(l.dir)
	case isRoot && e.Kind == EventEnd:
		delete(l.open, e.Run)
		return f.Close()
	}
	return nil
}

func encode(e Event, isRoot bool) ([]byte, error) {
	kept := line{
		Kind: e.Kind, Time: e.Time.UnixMilli(), ID: e.ID, Parent: e.Parent, Name: e.Name,
		Data: e.Data, Message: e.Message, Status: e.Status,
	}
	if isRoot {
		kept.Job = &e.Job
	}
	if e.Result != nil {
		var err error
		if kept.Result, err = json.Marshal(e.Result); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(kept)
	return append(text, '\n'), err
}

func (l *Log) name(run string) string { return filepath.Join(l.dir, run+suffix) }

// Err returns the first event that could not be written, since the log was opened.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Close closes the files of runs that are under way, and returns what Err does.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	errs := []error{l.err}
	for run, f := range l.open {
		errs = append(errs, f.Close())
		delete(l.open, run)
	}
	return errors.Join(errs...)
}

// Tee returns an observer that tells each of some, in their order; nil ones are left
// out.
func Tee(observers ...Observer) Observer {
	return ObserverFunc(func(e Event) {
		for _, o := range observers {
			if o != nil {
				o.Observe(e)
			}
		}
	})
}
