package vhd

import "fmt"

// Severity says how bad a [Finding] is.
type Severity uint8

const (
	// Note is about something that is allowed, and that other tools are known
	// to treat differently.
	Note Severity = iota

	// Warning is about something that is not as it should be. All of the content
	// is there, but tools may refuse the image or read it differently.
	Warning

	// Damage means that content is missing, unreadable or ambiguous.
	Damage
)

// String returns the name of the severity in lower case.
func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	}
	return "damage"
}

// FindingKind tells findings apart. The values are stable.
type FindingKind string

// What [Check] finds.
const (
	FindUnreadable    FindingKind = "unreadable"     // no footer or no header can be used
	FindFooter        FindingKind = "footer"         // the footer at the end is missing or damaged, the copy is not
	FindFooterCopy    FindingKind = "footer-copy"    // the copy at the front is damaged, the footer is not
	FindFootersDiffer FindingKind = "footers-differ" // both are sound, and differ
	FindShortFooter   FindingKind = "short-footer"   // 511 bytes, as old versions of Virtual PC wrote
	FindEntry         FindingKind = "table-entry"    // a block cannot be where the table says
	FindTable         FindingKind = "table"          // of a directory: the bitmap of blocks cannot be used
	FindLostBlock     FindingKind = "lost-block"     // of a directory: a block is listed, its file is missing
	FindStrayBlock    FindingKind = "stray-block"    // of a directory: a block is there that is not listed
	FindUnusedSpace   FindingKind = "unused-space"   // the file is longer than its blocks explain
	FindParent        FindingKind = "parent"         // the parent is missing, or no image with its uuid
	FindParentSize    FindingKind = "parent-size"    // the parent is longer than the image
	FindCycle         FindingKind = "cycle"          // an image is its own ancestor, or the chain has no end
	FindMerge         FindingKind = "merge"          // a merge that the image takes part in was interrupted
	FindBitmap        FindingKind = "bitmap"         // a bitmap cannot be read
	FindPartial       FindingKind = "partial-blocks" // blocks of which some sectors are missing
	FindBatmap        FindingKind = "batmap"         // the map of full blocks (blktap) is damaged, or says full of a block that is not
	FindBlock         FindingKind = "block"          // the data of a block cannot be read
	FindHiddenData    FindingKind = "hidden-data"    // data that is not part of the disk, and that other tools show
	FindOriginalSize  FindingKind = "original-size"  // larger than the current one: XO refuses the image
	FindUnevenSize    FindingKind = "uneven-size"    // not a multiple of a sector: others cut the end off
	FindGeometry      FindingKind = "geometry"       // larger than the disk
	FindBlockSize     FindingKind = "block-size"     // one that blktap cannot read
)

// Finding is one thing that [Check] found.
type Finding struct {
	Kind       FindingKind
	Severity   Severity
	Repairable bool   // [PlanRepair] has a step for it
	Image      string // name of the image in the Dir: the one checked or a parent
	Struct     string // "footer", "header", "BAT", "block", ...
	Offset     int64  // of the structure in the file, -1 if that says nothing
	Block      int64  // -1 if it is not about one block
	Text       string // one sentence
	Err        error  // wraps one of the sentinels of this package; nil for a Note
}

// String returns the finding on one line.
func (f Finding) String() string {
	where := f.Image
	if f.Struct != "" {
		where += ": " + f.Struct
	}
	if f.Block >= 0 {
		where += fmt.Sprintf(" %d", f.Block)
	}
	if f.Offset >= 0 {
		where += fmt.Sprintf(" at offset %d", f.Offset)
	}
	return fmt.Sprintf("%s: %s: %s: %s", f.Severity, where, f.Kind, f.Text)
}

// Report is what [Check] returns.
type Report struct {
	Name     string
	Level    CheckLevel // that was asked for
	Type     DiskType   // 0 if the image could not be opened
	Size     int64      // virtual size in bytes
	Links    int        // images that were looked at: 1, or those of the chain from [CheckChain] on
	Blocks   int64      // that they hold
	Findings []Finding  // of the image itself first, then of its parent, and so on
	More     int        // findings left out of Findings, which is bounded

	worst Severity
	err   error
}

// Worst returns the severity of the worst finding, [Note] if there is none.
func (r *Report) Worst() Severity { return r.worst }

// Err returns nil if nothing is damaged, and else an error that wraps the
// cause of the first damage.
func (r *Report) Err() error { return r.err }

// add notes a finding.
func (r *Report) add(most int, f Finding) {
	r.worst = max(r.worst, f.Severity)
	if f.Severity == Damage && r.err == nil {
		r.err = fmt.Errorf("check %s: %s: %w", f.Image, f.Text, f.Err)
	}
	if len(r.Findings) >= most {
		r.More++
		return
	}
	r.Findings = append(r.Findings, f)
}
