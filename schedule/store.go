package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// Record is what is remembered of an entry.
type Record struct {
	// Handled is until when its times are dealt with: run, skipped or missed.
	Handled time.Time `json:"handled"`
	// Spec is its timetable in words.
	Spec     string `json:"spec,omitempty"`
	Disabled bool   `json:"disabled,omitempty"`
}

// Store keeps records, by the ids of entries, across restarts. A scheduler calls it
// from one goroutine.
type Store interface {
	// Load gives what was saved last; none when nothing ever was.
	Load(ctx context.Context) (map[string]Record, error)
	// Save replaces all records. When it returns they are kept, even if the power fails;
	// when it fails, those before are.
	Save(ctx context.Context, records map[string]Record) error
}

// FileStore keeps the records in a JSON file, which is replaced at once. Only one
// scheduler may use it.
type FileStore struct{ path string }

// NewFileStore keeps them in the file, which need not exist; its folder must.
func NewFileStore(path string) *FileStore { return &FileStore{path} }

// Load reads the file. One that is damaged is an error.
func (f *FileStore) Load(context.Context) (map[string]Record, error) {
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("schedule: %w", err)
	}
	var records map[string]Record
	if err := json.Unmarshal(text, &records); err != nil {
		return nil, fmt.Errorf("schedule: %s: %w", f.path, err)
	}
	return records, nil
}

// Save writes a new file, syncs it, and renames it over the old one.
func (f *FileStore) Save(_ context.Context, records map[string]Record) error {
	text, err := json.MarshalIndent(records, "", "\t")
	if err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	dir, name := filepath.Split(f.path)
	temp, err := os.CreateTemp(dir, "."+name+".*.tmp")
	if err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	_, err = temp.Write(append(text, '\n'))
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("schedule: %w", errors.Join(err, os.Remove(temp.Name())))
	}
	if err := syncDir(filepath.Dir(f.path)); err != nil {
		return fmt.Errorf("schedule: %w", err)
	}
	return nil
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // a folder cannot be synced there
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
