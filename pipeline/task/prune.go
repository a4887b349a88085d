package task

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Keep says which runs [Log.Prune] leaves; what is 0 is no bound.
type Keep struct {
	Since time.Time // those to which something was added since then
	Bytes int64     // the newest, as many as have so many bytes together
}

// Prune removes the oldest runs that keep does not want, and returns how many. A run that
// is under way stays, and counts. It is safe at any time; what cannot be removed does not
// keep the others.
func (l *Log) Prune(keep Keep) (removed int, err error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return 0, fmt.Errorf("task: log: %w", err)
	}
	var errs []error
	var bytes int64
	for _, e := range slices.Backward(entries) { // their names begin with the time
		id, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		bytes += info.Size()
		if (keep.Bytes == 0 || bytes <= keep.Bytes) && !info.ModTime().Before(keep.Since) {
			continue
		}
		switch gone, err := l.remove(id); {
		case err != nil:
			errs = append(errs, err)
		case gone:
			removed++
		}
	}
	if err := errors.Join(errs...); err != nil {
		return removed, fmt.Errorf("task: log: %w", err)
	}
	return removed, nil
}

// remove removes a run unless it is under way.
func (l *Log) remove(id string) (gone bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[id] != nil {
		return false, nil
	}
	err = os.Remove(l.name(id))
	return err == nil, err
}
