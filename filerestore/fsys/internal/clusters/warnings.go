package clusters

import (
	"fmt"
	"slices"
	"sync"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// Warnings collects what a volume says of itself. Safe for concurrent use.
type Warnings struct {
	mu   sync.Mutex
	list []fsys.Warning
}

// Add adds one, unless it is there already.
func (w *Warnings) Add(c fsys.Concern, format string, args ...any) {
	warning := fsys.Warning{Concern: c, Text: fmt.Sprintf(format, args...)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.list, warning) {
		w.list = append(w.list, warning)
	}
}

// List returns them in the order in which they came.
func (w *Warnings) List() []fsys.Warning {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.list)
}
