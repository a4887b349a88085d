package xenrestore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/output"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// journalEvery is how often a journal is written at most: what came since is found
// again after a crash.
const journalEvery = time.Second

// journal keeps what a verification has found so far in a file, to go on from.
type journal struct {
	Level  catalog.VerifyLevel     `json:"level"`
	VM     string                  `json:"vm"`
	Point  string                  `json:"point"`
	State  *catalog.VerifyState    `json:"state"`
	Points []*catalog.PointVerdict `json:"points"` // that State has reported

	path    string // "": nothing is kept
	at      string // the point of the last checkpoint
	held    *catalog.VerifyState
	written time.Time
	dirty   bool
}

// loadJournal reads path, if it is there, and makes opts go on from it.
func loadJournal(path string, opts *catalog.VerifyOptions) (*journal, error) {
	j := &journal{Level: opts.Level, VM: opts.VM, Point: opts.Point, path: path, Points: []*catalog.PointVerdict{}}
	if path == "" {
		return j, nil
	}
	opts.Checkpoint = j.checkpoint
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, err
	}
	var old journal
	if err := json.Unmarshal(text, &old); err != nil {
		return nil, fmt.Errorf("%s is not the state of a verification: %w", path, err)
	}
	if old.Level != j.Level || old.VM != j.VM || old.Point != j.Point {
		return nil, command.UsageError(fmt.Sprintf("%s is the state of a verification with other arguments: -level %s -vm %q -backup %q; give these, or another file",
			path, old.Level, old.VM, old.Point))
	}
	if old.State != nil {
		j.State, j.Points, j.at, opts.Resume = old.State, old.Points, old.State.Point, old.State
	}
	return j, nil
}

// checkpoint is told of a point before its verdict is yielded: such a state is held
// until that has come, or, of a point that is gone, until the next one.
func (j *journal) checkpoint(state *catalog.VerifyState) error {
	j.release()
	if state.Point != j.at {
		j.at, j.held = state.Point, state
		return nil
	}
	j.State, j.dirty = state, true
	return j.write(false)
}

func (j *journal) release() {
	if j.held != nil {
		j.State, j.held, j.dirty = j.held, nil, true
	}
}

// add notes a verdict.
func (j *journal) add(v *catalog.PointVerdict) error {
	j.Points = append(j.Points, v)
	j.release()
	return j.write(false)
}

// flush writes what was not written yet.
func (j *journal) flush() error { return j.write(true) }

func (j *journal) write(now bool) error {
	if j.path == "" || !j.dirty || !now && time.Since(j.written) < journalEvery {
		return nil
	}
	f, err := output.Create(j.path, true)
	if err != nil {
		return err
	}
	defer func() { _ = f.Abort() }() // removes what failed
	if err := json.NewEncoder(f).Encode(j); err != nil {
		return err
	}
	j.written, j.dirty = time.Now(), false
	return f.Commit()
}

// remove ends the journal: all was reported.
func (j *journal) remove() error {
	if j.path == "" {
		return nil
	}
	if err := os.Remove(j.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
