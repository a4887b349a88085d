package catalog

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// CleanPlan is what a clean finds in the backups of a VM, or in a repository
// beside them, and what is to be done, or was done, about it. It marshals to JSON,
// and String is for people.
type CleanPlan struct {
	VM       string         `json:"vm,omitempty"` // "" for what belongs to no VM
	Findings []CleanFinding `json:"findings"`     // by path
	Stopped  bool           `json:"stopped"`      // something is unknown: nothing else is touched

	// Merges is what was merged, as [Session.Merge] reports it; nil in a plan.
	Merges *MergeReport `json:"-"`
}

// CleanFinding is something that is not in order.
type CleanFinding struct {
	Path   string      `json:"path"` // from the root of the repository
	Kind   CleanKind   `json:"kind"`
	State  CleanState  `json:"state"`
	Reason string      `json:"reason"`
	Bytes  int64       `json:"bytes,omitempty"` // it takes; of garbage, what its removal frees
	Since  time.Time   `json:"since,omitzero"`  // when a clean first found this; zero: now
	Action CleanAction `json:"action"`
	Chain  []string    `json:"chain,omitempty"` // of a merge: the disks, oldest first
	Done   bool        `json:"done,omitempty"`  // the action was taken
}

// CleanKind says what a finding is.
type CleanKind string

// What a clean finds.
const (
	KindPoint     CleanKind = "point"           // the metadata of a backup
	KindDisk      CleanKind = "disk"            // a VHD, or the alias of one
	KindData      CleanKind = "disk data"       // a disk kept as a directory that has no alias
	KindArchive   CleanKind = "archive"         // an XVA or its checksum
	KindTemporary CleanKind = "temporary file"  // that a crash left
	KindMerge     CleanKind = "merge"           // of disks, to be made or to be finished
	KindState     CleanKind = "merge state"     // of a merge that nothing is left of
	KindCache     CleanKind = "cache"           // of the listing
	KindDirectory CleanKind = "directory"       // that is empty, or cannot be judged
	KindTrash     CleanKind = "trash"           // of an earlier clean
	KindLock      CleanKind = "lock"            // of nobody
	KindOther     CleanKind = "file of another" // that no tool makes
)

// CleanState says how much is known about a finding.
type CleanState string

// The three states.
const (
	StateValid   CleanState = "valid"   // it is what it should be, and is not needed or not finished
	StateCorrupt CleanState = "corrupt" // it is proven not to be what it should be
	StateUnknown CleanState = "unknown" // it could not be judged
)

// CleanAction says what is done about a finding.
type CleanAction string

// What a clean does.
const (
	ActionNone     CleanAction = "none"     // it is for people to decide
	ActionRemember CleanAction = "remember" // it goes when a later clean finds the same
	ActionTrash    CleanAction = "trash"    // it is moved to the trash
	ActionRemove   CleanAction = "remove"   // it is removed for good
	ActionMerge    CleanAction = "merge"    // disks are merged
	ActionResume   CleanAction = "resume"   // a merge that was interrupted is finished
	ActionRewrite  CleanAction = "rewrite"  // the metadata is brought up to date
)

// String is one line per finding, and a last one that sums up.
func (p *CleanPlan) String() string {
	var b strings.Builder
	var free int64
	due := 0
	for _, f := range p.Findings {
		fmt.Fprintf(&b, "%s: %s\n", f.Path, f.line())
		if f.Action == ActionTrash || f.Action == ActionRemove {
			free += f.Bytes
		}
		if f.Action != ActionNone {
			due++
		}
	}
	what := cmp.Or(p.VM, "repository")
	fmt.Fprintf(&b, "%s: %d findings, %d to be acted on, %d bytes to be freed", what, len(p.Findings), due, free)
	if p.Stopped {
		b.WriteString("; stopped, since something is unknown")
	}
	return b.String()
}

func (f *CleanFinding) line() string {
	s := fmt.Sprintf("%s %s, %s: %s", f.State, f.Kind, f.Reason, f.Action)
	if len(f.Chain) > 0 {
		s += " " + strings.Join(f.Chain, " < ")
	}
	if f.Bytes > 0 {
		s += fmt.Sprintf(" (%d bytes)", f.Bytes)
	}
	if f.Done {
		s += ", done"
	}
	return s
}

// wants tells whether the plan has this step; nil has all.
func (p *CleanPlan) wants(name string, kind CleanKind) bool {
	return p == nil || slices.ContainsFunc(p.Findings, func(f CleanFinding) bool {
		return f.Path == name && f.Kind == kind && f.Action != ActionNone
	})
}

func (p *CleanPlan) sort() {
	slices.SortStableFunc(p.Findings, func(a, b CleanFinding) int {
		return cmp.Or(cmp.Compare(path.Dir(a.Path), path.Dir(b.Path)), cmp.Compare(a.Path, b.Path))
	})
}
