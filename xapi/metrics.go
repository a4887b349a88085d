package xapi

import (
	"context"
	"errors"
	"io"
	"time"
)

// Metrics are functions that a [Client] tells what it does, for counters and histograms of whatever kind. Nil ones are not called. They
// are called by the goroutine that does the work, several at once, and must not block. Nothing they are given is secret.
type Metrics struct {
	Call  func(CallMetric)  // one request of a call was answered, or failed
	Retry func(RetryMetric) // a call was refused for the moment, or met nobody, and will be repeated after a pause
	Task  func(TaskMetric)  // a task was waited for
	// Moved counts the bytes of disks and archives while they move, up to the pool or down from it.
	Moved func(up, down int)
}

// CallMetric is one request.
type CallMetric struct {
	Method, Host string
	// Outcome is empty for success, the code of the pool's refusal, or one of unreachable, untrusted, lost, protocol, stalled, ended and
	// failed.
	Outcome  string
	Took     time.Duration
	Up, Down int64 // bytes of the bodies
}

// RetryMetric is one pause.
type RetryMetric struct {
	Method  string
	Code    string // as the Outcome of a CallMetric
	Attempt int    // the one that was refused, counted from 1
	Wait    time.Duration
}

// TaskMetric is one wait for a task.
type TaskMetric struct {
	Outcome string // as in CallMetric; a task that failed is a success of the waiting
	Took    time.Duration
}

func (m *Metrics) call(metric CallMetric) {
	if m != nil && m.Call != nil {
		m.Call(metric)
	}
}

func (m *Metrics) retry(metric RetryMetric) {
	if m != nil && m.Retry != nil {
		m.Retry(metric)
	}
}

func (m *Metrics) task(metric TaskMetric) {
	if m != nil && m.Task != nil {
		m.Task(metric)
	}
}

// outcomeOf sorts errors into few kinds.
func outcomeOf(err error) string {
	var refused *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refused):
		return refused.Code
	case errors.Is(err, ErrStalled):
		return "stalled"
	case errors.Is(err, ErrUntrusted):
		return "untrusted"
	case errors.Is(err, ErrUnreachable):
		return "unreachable"
	case errors.Is(err, ErrConnectionLost):
		return "lost"
	case errors.Is(err, ErrProtocol):
		return "protocol"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "ended"
	default:
		return "failed"
	}
}

// counted is body, with its bytes counted by m.
func (m *Metrics) counted(body io.ReadCloser, up bool) io.ReadCloser {
	if m == nil || m.Moved == nil {
		return body
	}
	return &countedBody{ReadCloser: body, moved: m.Moved, up: up}
}

type countedBody struct {
	io.ReadCloser

	moved func(up, down int)
	up    bool
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && b.up {
		b.moved(n, 0)
	} else if n > 0 {
		b.moved(0, n)
	}
	return n, err
}
