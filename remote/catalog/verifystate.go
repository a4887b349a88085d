package catalog

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

const stateVersion = 1

// ErrVerifyState is returned by [Catalog.Verify] for a state to resume from that it
// cannot use: of another level, or of a version that it does not know.
var ErrVerifyState = errors.New("this verification cannot be resumed")

// VerifyState is how far a verification got: what [VerifyOptions.Resume] takes. It
// is to be stored as JSON, and is bounded by the number of files of one VM.
type VerifyState struct {
	Version int            `json:"version"`
	Level   VerifyLevel    `json:"level"`
	VM      string         `json:"vm"`      // those that sort before it are done
	Point   string         `json:"point"`   // of the VM; those that sort before it, and itself, were reported
	Files   []VerifiedFile `json:"files"`   // of the VM, that are done
	Current *VerifiedFile  `json:"current"` // that was begun; nil: none
}

// VerifiedFile is what a verification knows of a file that it may meet again.
type VerifiedFile struct {
	File     string          `json:"file"`
	Size     int64           `json:"size"` // by which, with the time, it is known not to have changed
	ModTime  time.Time       `json:"modTime"`
	Next     int             `json:"next"` // piece that is to come, of one that was begun
	Verdict  Verdict         `json:"verdict"`
	Evidence EvidenceState   `json:"evidence"`
	Findings []VerifyFinding `json:"findings,omitempty"`
	Notes    []string        `json:"notes,omitempty"`
}

func (s *VerifyState) check(level VerifyLevel) error {
	if s.Version != stateVersion || s.Level != level {
		return fmt.Errorf("catalog: state of version %d, level %q: %w", s.Version, s.Level, ErrVerifyState)
	}
	return nil
}

// clone shares nothing that changes.
func (s *VerifyState) clone() VerifyState {
	c := *s
	c.Files = slices.Clone(s.Files)
	if s.Current != nil {
		current := *s.Current
		current.Findings = slices.Clone(current.Findings)
		c.Current = &current
	}
	return c
}

func (v *verifier) checkpoint() error {
	if v.opts.Checkpoint == nil {
		return nil
	}
	state := v.state.clone()
	return v.opts.Checkpoint(&state)
}

// isSame tells whether the file is still the one that was looked at.
func (f *VerifiedFile) isSame(size int64, mtime time.Time) bool {
	return f.Size == size && f.ModTime.Equal(mtime)
}
