package pipeline

import (
	"errors"

	"github.com/xenbackup/xenbackup/xapi"
)

// codedError is an error of a pool, for a task: its code goes to the log as XO
// has it.
type codedError struct {
	error
	code string
}

// Unwrap returns the error itself.
func (e *codedError) Unwrap() error { return e.error }

// ErrorCode returns the code of the pool's error; see task.NewErrorResult.
func (e *codedError) ErrorCode() string { return e.code }

// coded returns err, with the code of the pool's error in it if there is one.
func coded(err error) error {
	if refusal, ok := errors.AsType[*xapi.Error](err); ok {
		return &codedError{err, refusal.Code}
	}
	return err
}
