package vhd

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// The steps of a merge, as XO names them in the state file.
const (
	StepMergeBlocks = "mergeBlocks" // blocks are on their way into the oldest image
	StepCleanup     = "cleanup"     // the oldest image is complete, and replaces the youngest
)

// MergeState is the journal of a merge in XO's format, so that XO can finish
// what [Merge] began and the other way round. It lies beside the images; names
// in it are relative to its directory.
type MergeState struct {
	Parent UUID // of the oldest image, as it was before the merge
	Child  UUID // of the youngest image, which the oldest takes on

	// Chain names the images from the oldest to the youngest. Old versions of
	// XO did not write it.
	Chain []string
	Step  string

	// CurrentBlock is a hint: the blocks before it are in the oldest image and
	// its table. XO does not sync, so it does not prove that they are.
	CurrentBlock   int64
	MergedDataSize int64 // bytes copied so far
	DiskSize       int64 // bytes of the merged file, from StepCleanup on

	// SyncedBlock is what CurrentBlock only hints at: the blocks before it are
	// durable. XO does not know it.
	SyncedBlock int64

	// Obsolete is the data that goes with the newer images, from StepCleanup on:
	// what their aliases stand for, relative to the directory. XO does not know it.
	Obsolete []string
}

type mergeLink struct {
	UUID UUID `json:"uuid"`
}

// mergeStateJSON has the order of fields of XO.
type mergeStateJSON struct {
	Child          mergeLink `json:"child"`
	Parent         mergeLink `json:"parent"`
	Chain          []string  `json:"chain,omitempty"`
	CurrentBlock   *int64    `json:"currentBlock"` // null in old files
	MergedDataSize int64     `json:"mergedDataSize"`
	Step           string    `json:"step"`
	DiskSize       int64     `json:"diskSize"`
	SyncedBlock    int64     `json:"syncedBlock,omitempty"`
	Obsolete       []string  `json:"obsolete,omitempty"`
}

// MarshalJSON writes what XO reads.
func (s *MergeState) MarshalJSON() ([]byte, error) {
	return json.Marshal(mergeStateJSON{
		Child: mergeLink{s.Child}, Parent: mergeLink{s.Parent}, Chain: s.Chain, CurrentBlock: &s.CurrentBlock,
		MergedDataSize: s.MergedDataSize, Step: s.Step, DiskSize: s.DiskSize, SyncedBlock: s.SyncedBlock, Obsolete: s.Obsolete,
	})
}

// UnmarshalJSON reads what XO writes. What does not make sense wraps [ErrMergeState].
func (s *MergeState) UnmarshalJSON(data []byte) error {
	var w mergeStateJSON
	if err := json.Unmarshal(data, &w); err != nil {
		return fmt.Errorf("%w: %w", ErrMergeState, err)
	}
	if w.Step != StepMergeBlocks && w.Step != StepCleanup {
		return fmt.Errorf("%w: step %.40q", ErrMergeState, w.Step)
	}
	if w.Child.UUID.IsZero() || w.Parent.UUID.IsZero() || len(w.Chain) == 1 {
		return fmt.Errorf("%w: parent and child are not named", ErrMergeState)
	}
	*s = MergeState{
		Parent: w.Parent.UUID, Child: w.Child.UUID, Step: w.Step,
		MergedDataSize: w.MergedDataSize, DiskSize: w.DiskSize, SyncedBlock: max(0, w.SyncedBlock),
	}
	if len(w.Chain) > 0 {
		s.Chain = w.Chain
	}
	if len(w.Obsolete) > 0 {
		s.Obsolete = w.Obsolete
	}
	if w.CurrentBlock != nil {
		s.CurrentBlock = max(0, *w.CurrentBlock)
	}
	return nil
}

// MergeStateName returns the name of the state file of a merge into the image
// parent, in the directory of parent.
func MergeStateName(parent string) string {
	dir, base := path.Split(parent)
	return dir + "." + base + ".merge.json"
}

// mergeTarget returns the image that a state file is about.
func mergeTarget(stateName string) (image string, ok bool) {
	image, ok = strings.CutSuffix(stateName, ".merge.json")
	if !ok {
		return "", false
	}
	return strings.CutPrefix(image, ".")
}

// ReadMergeState reads a state file. Its error wraps fs.ErrNotExist if there is
// none and [ErrMergeState] if it cannot be understood: XO does not replace it
// atomically, so a crash of XO can leave it torn.
func ReadMergeState(ctx context.Context, dir Dir, name string) (*MergeState, error) {
	data, err := dir.ReadFile(ctx, name)
	if err != nil {
		return nil, err
	}
	s := new(MergeState)
	if err := s.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// AcceptParent is for [ChainOptions]: it accepts the oldest image of the merge
// after it has taken the uuid of the youngest, and before it has taken its name.
func (s *MergeState) AcceptParent(child, parent *Image) bool {
	return parent.UUID() == s.Child && child.Parent().UUID == s.Parent
}
