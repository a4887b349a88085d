package fsys

// Concern says what a [Warning] is about.
type Concern uint8

const (
	// Replayed means that the volume was in use, and its journal was replayed in memory.
	// Nothing is missing.
	Replayed Concern = iota
	// Stale means that the newest changes may be missing, for they are where this reader
	// does not read them.
	Stale
	// Dirty means that the volume was in use, and its format has no journal. What was
	// being written may be torn.
	Dirty
	// Damaged means that the volume records errors of its own, or is cut short.
	Damaged
	// Skipped means that something that the volume has is not shown.
	Skipped
)

// String returns the concern in lower case.
func (c Concern) String() string {
	switch c {
	case Replayed:
		return "replayed"
	case Stale:
		return "stale"
	case Dirty:
		return "dirty"
	case Damaged:
		return "damaged"
	case Skipped:
		return "skipped"
	}
	return "unknown"
}

// Warning is for the eyes of who restores files: what the volume shows may
// differ from what its operating system would show.
type Warning struct {
	Concern Concern
	Text    string // a sentence, without secrets and without names of files
}

// String returns the concern and the text.
func (w Warning) String() string { return w.Concern.String() + ": " + w.Text }
