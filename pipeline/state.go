package pipeline

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/schedule"
)

// ErrStateInUse is returned for a directory that another live process has.
var ErrStateInUse = errors.New("pipeline: another process has the state directory")

var (
	errStateBusy   = errors.New("pipeline: the state directory is not given back while runs are under way: wait for them, or cancel them")
	errStateClosed = errors.New("pipeline: the state directory was given back: nothing may run any more")
)

// State is what has to be known after the end of a process, however it ended: the story
// of each run, what runs were about to leave behind, and until when schedules are dealt
// with. It is one process's at a time, and never kept in a repository. Runners of the
// process may share it: a VM is in one run of all of them at a time.
//
// What a run may leave behind is written down, and synced, before each such step:
// snapshots, blocks of migration, guests halted for their backup, files in repositories,
// exports. A run whose process was killed is undone by [Runner.Recover], which every
// [Runner.Run] begins with. A step that cannot be written down is not taken.
type State struct {
	dir     string
	lock    *os.File
	runs    *task.Log // nil in memory
	journal *journal
	vms     *LocalLimiter // one slot per VM, for all runners that have the state
}

// DirState takes a directory, which is made if it is missing, for this process, and reads
// what is in it:
//
//	lock             held by the process; the system gives it back
//	intents.jsonl    what runs were about to leave behind
//	runs/            the story of each run; see [task.Log]
//	schedules.json   see [State.Schedules]
//
// Other names in it are free. While another process has it the error is ErrStateInUse,
// and on systems without locks of files errors.ErrUnsupported.
func DirState(path string) (*State, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("pipeline: state: %w", err)
	}
	lock, err := lockFile(filepath.Join(path, "lock"))
	if err != nil {
		return nil, fmt.Errorf("pipeline: state %s: %w", path, err)
	}
	s := &State{dir: path, lock: lock, vms: NewLimiter(Limits{VM: 1})}
	if s.runs, err = task.OpenLog(filepath.Join(path, "runs")); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if s.journal, err = openJournal(filepath.Join(path, "intents.jsonl")); err != nil {
		return nil, errors.Join(err, s.runs.Close(), lock.Close())
	}
	return s, nil
}

// memoryState is the state of a runner without one: what failed to be undone is tried
// again as long as the process lives.
func memoryState() *State { return &State{journal: newJournal(), vms: NewLimiter(Limits{VM: 1})} }

// Runs is the log of all runs of the runners that have the state; they write it.
func (s *State) Runs() *task.Log { return s.runs }

// Schedules is where a [schedule.Scheduler] keeps until when its entries are dealt with.
func (s *State) Schedules() schedule.Store {
	return schedule.NewFileStore(filepath.Join(s.dir, "schedules.json"))
}

// begin notes that a run is under way, until over is called. It is no reason not to run
// if that cannot be written: the log ends such a run by itself, when it is read.
func (s *State) begin(run, job string) (over func()) {
	s.journal.begun(run)
	var noted *intention
	if s.runs != nil {
		noted, _ = s.journal.begin(intent{Kind: intentRun, Time: time.Now().UTC(), Run: run, Job: job})
	}
	return func() {
		noted.done()
		s.journal.ended(run)
	}
}

// Close gives the directory back. It refuses that while something runs: whoever took the
// directory then would undo what is under way. Closing again does nothing.
func (s *State) Close() error {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	switch {
	case s.journal.closed:
		return nil
	case len(s.journal.live)+len(s.journal.claimed) > 0:
		return errStateBusy
	}
	s.journal.closed = true
	return errors.Join(s.journal.close(), s.runs.Close(), s.lock.Close())
}
