package pipeline

import (
	"crypto/rand"
	"strings"
	"time"
)

// intentKind says what a killed run would leave, and so how that is undone.
type intentKind string

const (
	// intentRun is a run that is under way: its log must not stay without an end.
	intentRun intentKind = "run"

	// intentVM is a VM that is being backed up: files that nobody completes and a lock in
	// each of Remotes, and tasks of the pool whose names end with Label.
	intentVM intentKind = "vm"

	// intentMigration is a block of migration. Before is what was blocked already.
	intentMigration intentKind = "migration"

	// intentSnapshot is a snapshot that is to be taken: the one with the temporary name, or,
	// once it is there, Ref. From Committing on it may be the base of the next delta.
	intentSnapshot intentKind = "snapshot"

	// intentHalted is a guest that is to be halted for its backup, and started again.
	intentHalted intentKind = "halted"
)

// intent is the promise to undo something, kept before it is done.
type intent struct {
	ID   int64      `json:"id"`
	Kind intentKind `json:"kind"`
	Time time.Time  `json:"time"`
	Run  string     `json:"run"`           // its id
	Job  string     `json:"job,omitempty"` // its id
	Pool string     `json:"pool,omitempty"`
	VM   string     `json:"vm,omitempty"` // its uuid

	Remotes    []string          `json:"remotes,omitempty"`
	Label      string            `json:"label,omitempty"`
	Before     map[string]string `json:"before,omitempty"`
	Ref        string            `json:"ref,omitempty"`
	Disks      []string          `json:"disks,omitempty"` // of the snapshot Ref
	Committing bool              `json:"committing,omitempty"`
}

// intention is an intent that is in the journal.
type intention struct {
	journal *journal
	intent  intent
}

// update replaces the intent by what change makes of it, durably.
func (n *intention) update(change func(*intent)) error {
	next := n.intent
	change(&next)
	if err := n.journal.put(&next); err != nil {
		return err
	}
	n.intent = next
	return nil
}

// done forgets the intent: what it was about is undone, or is to stay. It may be
// called again, and on nil.
func (n *intention) done() {
	if n != nil {
		n.journal.remove(n.intent.ID)
	}
}

// intend notes what the run is about to leave on the VM or for it. When it returns, a
// process that is started after this one was killed knows of it; see [Runner.Recover].
// The step must not be taken after an error. Whoever takes it calls done when it is
// undone, and not when undoing failed.
func (v *vmRun) intend(in intent) (*intention, error) {
	in.Time, in.Run, in.Job = time.Now().UTC(), v.runID, v.job.ID
	in.Pool, in.VM = v.poolID, v.vm.UUID
	return v.state.journal.begin(in)
}

// newLabel returns an end for names of tasks by which those of one run are known.
func newLabel() string { return " [" + strings.ToLower(rand.Text()[:10]) + "]" }
