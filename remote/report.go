package remote

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is what [Probe] found, for a person ([Report.String]) or as JSON.
type Report struct {
	Steps []Step `json:"steps"`

	WriteBytesPerSecond  float64 `json:"writeBytesPerSecond"` // the sync at the end included
	ReadBytesPerSecond   float64 `json:"readBytesPerSecond"`
	RandomReadsPerSecond float64 `json:"randomReadsPerSecond"` // of 4 KiB, as many at once as the storage likes
	CommitSeconds        float64 `json:"commitSeconds"`        // to publish a small file durably
	ClockSkewSeconds     float64 `json:"clockSkewSeconds"`     // the storage's clock minus ours; 0 within some seconds

	Space        Space      `json:"space"`
	Properties   Properties `json:"properties"`
	Capabilities []string   `json:"capabilities"`
}

// Step is one thing that [Probe] tried.
type Step struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
	Skipped bool    `json:"skipped,omitempty"` // the storage has no such thing
}

// Warnings are what works but has consequences, in sentences.
func (r *Report) Warnings() []string {
	var out []string
	if math.Abs(r.ClockSkewSeconds) > skewAllowed.Seconds() {
		out = append(out, fmt.Sprintf("The clock of the storage is off by %+.0f s: Xen Orchestra may break locks that are held. Set the clocks.", r.ClockSkewSeconds))
	}
	p := r.Properties
	if !p.AtomicReplace {
		out = append(out, "Files are not replaced in one step: a crash may leave a moment without the file, which opening the storage repairs.")
	}
	if !p.StableMetadata && !slices.Contains(r.Capabilities, "DirSyncer") {
		out = append(out, "New names cannot be synced: a power cut of the storage may undo the last renames.")
	}
	if !slices.Contains(r.Capabilities, "Toucher") && !slices.Contains(r.Capabilities, "Locker") {
		out = append(out, "There are no locks: only one program may work on this storage.")
	}
	if r.Space.Total > 0 && r.Space.Free < r.Space.Total/20 {
		out = append(out, "Less than 5 % of the space is free.")
	}
	return out
}

// String is the report on a page, each line ended.
func (r *Report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range r.Steps {
		result := "ok"
		switch {
		case s.Skipped:
			result = "not offered"
		case s.Error != "":
			result = "FAILED: " + s.Error
		}
		fmt.Fprintf(w, "%s\t%.2f s\t%s\n", s.Name, s.Seconds, result)
	}
	fmt.Fprintf(w, "\nwrite\t%s/s\n", bytesText(r.WriteBytesPerSecond))
	fmt.Fprintf(w, "read\t%s/s\n", bytesText(r.ReadBytesPerSecond))
	fmt.Fprintf(w, "random 4 KiB reads\t%.0f/s\n", r.RandomReadsPerSecond)
	fmt.Fprintf(w, "publish a small file\t%.1f ms\n", 1000*r.CommitSeconds)
	if r.Space.Total > 0 {
		fmt.Fprintf(w, "free\t%s of %s\n", bytesText(float64(r.Space.Free)), bytesText(float64(r.Space.Total)))
	}
	_ = w.Flush() // to memory
	for _, line := range r.Warnings() {
		fmt.Fprintf(&b, "\nWarning: %s\n", line)
	}
	return b.String()
}

func bytesText(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; n >= 1024 && i < len(units)-1; i++ {
		n /= 1024
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}

// capabilities are the names of those that fsys has.
func capabilities(fsys Filesystem) []string {
	var out []string
	for _, c := range []struct {
		name       string
		capability any
	}{
		{"DirSyncer", (*DirSyncer)(nil)},
		{"Locker", (*Locker)(nil)},
		{"NoReplacer", (*NoReplacer)(nil)},
		{"SpaceReporter", (*SpaceReporter)(nil)},
		{"Toucher", (*Toucher)(nil)},
		{"TreeRemover", (*TreeRemover)(nil)},
	} {
		if Offers(fsys, c.capability) {
			out = append(out, c.name)
		}
	}
	return out
}
