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
	var refusal *xapi.Error
	if errors.As(err, &refusal) {
		return &codedError{err, refusal.Code}
	}
	return err
}
