package xenrestore

import (
	"context"
	"io"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/progress"
)

// meter counts what is written, and stops when ctx ends.
type meter struct {
	ctx   context.Context //nolint:containedctx // lives for one copy
	w     io.Writer
	name  string
	done  int64
	total int64 // 0: not known
	moved *progress.Printer
}

// Write implements io.Writer.
func (m *meter) Write(p []byte) (int, error) {
	if err := context.Cause(m.ctx); err != nil {
		return 0, err
	}
	n, err := m.w.Write(p)
	m.done += int64(n)
	m.moved.Move(m.name, m.done, m.total)
	return n, err
}

// watch shows progress on a terminal, and is quiet elsewhere.
func watch(std *command.Streams) *progress.Printer {
	if !std.Terminal {
		return progress.New(io.Discard, false)
	}
	return progress.New(std.Err, true)
}
