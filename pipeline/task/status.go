package task

import (
	"context"
	"errors"
)

// Status is the state of a task, in the words of XO's job log.
type Status string

// The states of a task. All but Pending are final.
const (
	Pending     Status = "pending"
	Success     Status = "success"
	Failure     Status = "failure"
	Skipped     Status = "skipped"     // there was nothing to do, for a [SkipError]
	Interrupted Status = "interrupted" // cancelled, or never ended
)

// SkipError ends a task as [Skipped] rather than as [Failure].
type SkipError struct {
	// Reason is the whole message, since XO tells skipped tasks by it.
	Reason string

	// Err is what the reason stands for; it may be nil.
	Err error
}

// Error returns the reason.
func (e *SkipError) Error() string { return e.Reason }

// Unwrap returns Err.
func (e *SkipError) Unwrap() error { return e.Err }

// The reasons that XO knows; it shows a failure with any other message as a failure.
const (
	ReasonNoDisks        = "no disks found"
	ReasonNoVMs          = "no VMs match this pattern"
	ReasonUnhealthyChain = "unhealthy VDI chain"
)

// statusOf returns the status that err gives to the task it ends.
func statusOf(err error) Status {
	var skip *SkipError
	switch {
	case err == nil:
		return Success
	case errors.As(err, &skip):
		return Skipped
	case errors.Is(err, context.Canceled):
		return Interrupted
	}
	return Failure
}

// weight orders statuses by how much they say about a parent.
func (s Status) weight() int {
	switch s {
	case Failure:
		return 3
	case Interrupted, Pending: // a child still pending when its parent ends never ends
		return 2
	case Skipped:
		return 1
	case Success:
	}
	return 0
}

// fold returns the status of a task whose own work ended as own. A child's
// failure outweighs its parent's success; a failed child that was tried again
// with success counts for nothing, and one that never ended was interrupted.
func fold(own Status, children []*Task) Status {
	for i, c := range children {
		if c.status == Failure && c.retried && succeededLater(c, children[i+1:]) {
			continue
		}
		if c.status.weight() > own.weight() {
			own = c.status
		}
	}
	if own == Pending {
		own = Interrupted
	}
	return own
}

func succeededLater(failed *Task, later []*Task) bool {
	id, _ := failed.data["id"].(string)
	for _, s := range later {
		if other, _ := s.data["id"].(string); s.status == Success && s.name == failed.name && other == id {
			return true
		}
	}
	return false
}
