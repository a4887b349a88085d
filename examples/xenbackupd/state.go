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
	"github.com/xenbackup/xenbackup/pipeline"
)

// state is the folder of what has to be remembered: what the library keeps there, and
// which storage each repository is on.
type state struct {
	dir  string
	held *pipeline.State // nil: the folder is only read

	mu  sync.Mutex
	ids map[string]identity // of repositories, by their names
}

// identity is the storage that a URL led to at first.
type identity struct {
	URL string `json:"url"`
	ID  string `json:"id"`
}

// openState takes the folder for this process, and makes it if it is not there.
func openState(dir string) (*state, error) {
	held, err := pipeline.DirState(dir)
	if err != nil {
		return nil, err
	}
	s, err := readState(dir)
	if err != nil {
		return nil, errors.Join(err, held.Close())
	}
	s.held = held
	return s, nil
}

// readState reads the folder, which another process may have, or which may not be there.
func readState(dir string) (*state, error) {
	s := &state{dir: dir, ids: map[string]identity{}}
	text, err := os.ReadFile(s.remotes())
	if err == nil {
		err = json.Unmarshal(text, &s.ids)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", s.remotes(), err)
	}
	return s, nil
}

// close gives the folder back.
func (s *state) close() error {
	if s.held == nil {
		return nil
	}
	return s.held.Close()
}

// remotes is the file of the storages; other names in the folder are the library's.
func (s *state) remotes() string { return filepath.Join(s.dir, "remotes.json") }

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
	f, err := output.Create(s.remotes(), true)
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
