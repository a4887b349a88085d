package catalog

import (
	"context"
	"fmt"
	"iter"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/xenbackup/xenbackup/remote"
)

// VerifyLevel says how deep [Catalog.Verify] looks. Each level includes those
// before it.
type VerifyLevel string

// The levels.
const (
	// VerifyQuick reads the metadata, and looks whether the files are there and as
	// long as they should be.
	VerifyQuick VerifyLevel = "quick"
	// VerifyStructure also reads footers, headers, block tables and aliases, follows
	// each disk to the complete one that it is a difference to, and looks at the end
	// of archives and at their checksum files.
	VerifyStructure VerifyLevel = "structure"
	// VerifyData also reads every byte that the points need, and compares it with
	// what proves it: the evidence that was written with the disk, the checksum beside
	// an archive, the tag of an encrypted file.
	VerifyData VerifyLevel = "data"
)

// Verdict is what was found out about something.
type Verdict string

// The verdicts.
const (
	Valid   Verdict = "valid"   // nothing is wrong with it, as far as was looked
	Corrupt Verdict = "corrupt" // it is proven not to be what it should be
	Unknown Verdict = "unknown" // it could not be judged: looking failed
)

// worse returns the one that says more.
func (v Verdict) worse(other Verdict) Verdict {
	rank := []Verdict{Valid, Unknown, Corrupt}
	return rank[max(slices.Index(rank, v), slices.Index(rank, other), 0)]
}

// EvidenceState says what there was to compare data with.
type EvidenceState string

// The states of evidence.
const (
	EvidenceComplete EvidenceState = "complete" // of every byte
	EvidencePartial  EvidenceState = "partial"  // of some disks, or of some blocks
	EvidenceOutdated EvidenceState = "outdated" // another tool, such as Xen Orchestra, has merged disks since it was written
	EvidenceAbsent   EvidenceState = "absent"   // the point was not written by this library
)

// VerifyOptions directs [Catalog.Verify]. nil is fine.
type VerifyOptions struct {
	Level VerifyLevel // "": VerifyQuick
	VM    string      // only the points of this VM; "": of all
	Point string      // only the point with this ID

	// Resume goes on where Checkpoint was called with this state: points that were
	// reported by then are not reported again, and blocks that were read are not
	// read again.
	Resume *VerifyState
	// Checkpoint is called with how far it got, at least after each file and after
	// each 256 MiB of one, one call at a time. What it is given does not change
	// later. It may store the state as JSON; whoever is killed loses what came since. An
	// error ends the verification.
	Checkpoint func(state *VerifyState) error

	BytesPerSecond int64 // that are read at most; 0 is no limit
	Workers        int   // blocks that are read at a time; 0: one per processor
	MaxFindings    int   // per file, before the rest is not listed; 0 is 100
}

// PointVerdict is what [Catalog.Verify] says of a restore point. Its JSON is stable.
type PointVerdict struct {
	Point    string          `json:"point"`
	Level    VerifyLevel     `json:"level"`
	Verdict  Verdict         `json:"verdict"`
	Evidence EvidenceState   `json:"evidence"` // that there is; it was compared at VerifyData
	Files    int             `json:"files"`    // disks with all they stand on, or the archive, and the metadata
	Bytes    int64           `json:"bytes"`    // that were read for it, and not for an earlier point
	Findings []VerifyFinding `json:"findings,omitempty"`
	Notes    []string        `json:"notes,omitempty"` // what is remarkable and not wrong
}

// VerifyFinding is one thing that is wrong with a file.
type VerifyFinding struct {
	File    string  `json:"file"` // from the root of the repository
	Verdict Verdict `json:"verdict"`
	Block   int64   `json:"block"`  // of the disk, of 2 MiB; -1: it is not about one
	Offset  int64   `json:"offset"` // in the file, in bytes; -1: it is not about a place
	Reason  string  `json:"reason"`
}

// String returns the finding on one line.
func (f VerifyFinding) String() string {
	where := f.File
	if f.Block >= 0 {
		where += fmt.Sprintf(": block %d", f.Block)
	}
	if f.Offset >= 0 {
		where += fmt.Sprintf(": offset %d", f.Offset)
	}
	return fmt.Sprintf("%s: %s: %s", f.Verdict, where, f.Reason)
}

// weight is what the finding makes of the point. Without its evidence a point can be
// restored as before, and not be proven; without what is beside the points, as before.
func (f VerifyFinding) weight() Verdict {
	switch {
	case path.Base(f.File) == cacheName, f.File == immutabilityName:
		return Valid
	case f.Verdict == Corrupt && strings.HasPrefix(f.File, evidenceDir+"/"):
		return Unknown
	}
	return f.Verdict
}

// Verify looks whether restore points can be restored, and yields what it found
// out about each, VM by VM and oldest first. A point is as bad as the worst of the files
// that it needs; a file that several need is read once. That something is wrong
// is in the verdict; an error is the last pair, and says that the repository cannot
// be listed, or that ctx or the caller ended it.
//
// Verify changes nothing. It takes no lock: points that are deleted meanwhile are left
// out, and what looks corrupt is looked at again, under a [Lease] where those can
// be had, before it is said. A point in the middle of a merge that was interrupted
// is read as [Catalog.OpenDisk] reads it, and a note says so.
//
// Evidence makes the difference at [VerifyData]: with it every bit of a file is
// proven. Without it blocks are only proven to be readable, and, of disks kept as
// directories, to decompress; in an encrypted repository the tag of each file proves
// it, but not that it is in its place. Evidence that is damaged itself is named among the
// findings; it makes a point unknown, not corrupt.
//
// What no point needs is looked at beside them: cache.json.gz, by which alone Xen
// Orchestra lists, against the directory and each file, and immutability.json. What is
// wrong with one is a finding of the first point of its VM, or of the point that it is
// about; the point stays as good as it is.
func (c *Catalog) Verify(ctx context.Context, opts *VerifyOptions) iter.Seq2[*PointVerdict, error] {
	return func(yield func(*PointVerdict, error) bool) {
		v, err := newVerifier(c, opts)
		if err == nil {
			err = v.run(ctx, func(p *PointVerdict) bool { return yield(p, nil) })
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// verifier is one call of Verify.
type verifier struct {
	c     *Catalog
	opts  VerifyOptions
	limit *rate.Limiter // nil: none
	state VerifyState

	guardSeen bool // immutability.json was looked at

	read atomic.Int64 // bytes
}

func (v *verifier) bytesRead() int64 { return v.read.Load() }

// burst lets the largest piece pass that is read at once.
const burst = 4 << 20

func newVerifier(c *Catalog, opts *VerifyOptions) (*verifier, error) {
	v := &verifier{c: c}
	if opts != nil {
		v.opts = *opts
	}
	o := &v.opts
	switch o.Level {
	case "":
		o.Level = VerifyQuick
	case VerifyQuick, VerifyStructure, VerifyData:
	default:
		return nil, fmt.Errorf("catalog: verify level %q: %w", o.Level, ErrInvalidName)
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.MaxFindings <= 0 {
		o.MaxFindings = 100
	}
	if o.BytesPerSecond > 0 {
		v.limit = rate.NewLimiter(rate.Limit(o.BytesPerSecond), burst)
	}
	if o.Point != "" {
		vm, file, err := splitID(o.Point)
		if err != nil {
			return nil, err
		}
		o.VM, o.Point = vm, path.Join(vmRoot, vm, file)
	}
	v.state = VerifyState{Version: stateVersion, Level: o.Level}
	if o.Resume != nil {
		if err := o.Resume.check(o.Level); err != nil {
			return nil, err
		}
		v.state = o.Resume.clone()
	}
	return v, nil
}

func (v *verifier) run(ctx context.Context, yield func(*PointVerdict) bool) error {
	for vm, err := range v.vms(ctx) {
		if err != nil {
			return err
		}
		if vm < v.state.VM {
			continue
		}
		if vm != v.state.VM {
			v.state.VM, v.state.Point, v.state.Files, v.state.Current = vm, "", nil, nil
		}
		more, err := v.verifyVM(ctx, vm, yield)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func (v *verifier) vms(ctx context.Context) iter.Seq2[string, error] {
	if v.opts.VM == "" {
		return v.c.VMs(ctx)
	}
	return func(yield func(string, error) bool) { yield(v.opts.VM, nil) }
}

// wait keeps to the rate, before n bytes are read.
func (v *verifier) wait(ctx context.Context, n int64) error {
	v.read.Add(n)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if v.limit == nil {
		return nil
	}
	for n > 0 {
		part := min(n, burst)
		if err := v.limit.WaitN(ctx, int(part)); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

func (v *verifier) fsys() remote.Filesystem { return v.c.fsys }

func (v *verifier) atLeast(level VerifyLevel) bool {
	rank := []VerifyLevel{VerifyQuick, VerifyStructure, VerifyData}
	return slices.Index(rank, v.opts.Level) >= slices.Index(rank, level)
}
