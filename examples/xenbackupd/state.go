package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/xenbackup/xenbackup/examples/internal/output"
	"github.com/xenbackup/xenbackup/schedule"
)

// state is the folder of what has to be remembered: until when the schedules are dealt
// with, which storage each repository is on, and what happened in each run.
type state struct {
	dir  string
	lock *os.File // nil: it is only read

	mu  sync.Mutex
	ids map[string]identity // of repositories, by their names
}

// identity is the storage that a URL led to at first.
type identity struct {
	URL string `json:"url"`
	ID  string `json:"id"`
}

// errInUse is returned while another process has the folder.
var errInUse = errors.New("another xenbackupd uses this state folder")

// openState takes the folder for this process, and makes it if it is not there.
func openState(dir string) (*state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	s, err := readState(dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	return s, nil
}

// readState reads the folder, which another process may have, or which may not be there.
func readState(dir string) (*state, error) {
	s := &state{dir: dir, ids: map[string]identity{}}
	text, err := os.ReadFile(s.path("remotes.json"))
	if err == nil {
		err = json.Unmarshal(text, &s.ids)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", s.path("remotes.json"), err)
	}
	return s, nil
}

// close gives the folder back.
func (s *state) close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

func (s *state) path(name string) string { return filepath.Join(s.dir, name) }

// schedules remembers until when they are dealt with.
func (s *state) schedules() schedule.Store { return schedule.NewFileStore(s.path("schedules.json")) }

// identityOf returns the storage that the repository was on, or "".
func (s *state) identityOf(name, url string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.ids[name]; known.URL == url {
		return known.ID
	}
	return ""
}

// remember keeps the storage of a repository.
func (s *state) remember(name, url, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids[name] = identity{url, id}
	text, err := json.MarshalIndent(s.ids, "", "  ")
	if err != nil {
		return err
	}
	f, err := output.Create(s.path("remotes.json"), true)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(text, '\n')); err != nil {
		return errors.Join(err, f.Abort())
	}
	if err := f.Commit(); err != nil {
		return errors.Join(err, f.Abort())
	}
	return nil
}
