package live

import (
	"fmt"
	"strings"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/progress"
	"github.com/xenbackup/xenbackup/pipeline/task"
)

// Screen shows a run to whoever waits for it: a line for each VM that has ended, for
// each warning and each failure, and on a terminal one that is rewritten, with the
// rate and the time left. It is a [task.Observer].
type Screen struct {
	runs  *Runs
	out   *progress.Printer
	names map[string]string    // of VMs, by the ids of tasks below them
	began map[string]time.Time // of VMs, by the ids of their tasks
	bytes map[string]int64     // written, by the ids of the tasks of VMs
	vmOf  map[string]string    // id of a VM's task, by the ids of tasks below it
	moved map[string]int64     // by the id of the task that moves bytes
}

// NewScreen shows a run on out. The runs must observe before it does.
func NewScreen(runs *Runs, out *progress.Printer) *Screen {
	return &Screen{
		runs: runs, out: out, names: map[string]string{}, began: map[string]time.Time{},
		bytes: map[string]int64{}, vmOf: map[string]string{}, moved: map[string]int64{},
	}
}

// Observe implements [task.Observer]. Events must come one at a time, as those of one
// run do.
func (s *Screen) Observe(e task.Event) {
	switch e.Kind {
	case task.EventStart:
		s.start(e)
	case task.EventProgress:
		if vm, ok := s.vmOf[e.ID]; ok && e.Name == "transfer" {
			s.bytes[vm] += e.Done - s.moved[e.ID]
			s.moved[e.ID] = e.Done
		}
	case task.EventWarning:
		s.out.Printf("  %s: warning: %s%s", s.of(e), e.Message, details(e.Data))
	case task.EventEnd:
		s.end(e)
	case task.EventInfo:
		if e.Message == "VM left out" {
			s.out.Printf("  %v: left out: %v", e.Data["name_label"], e.Data["reason"])
		}
	}
	if active := s.runs.Active(); len(active) > 0 {
		s.out.Line("  " + Line(active[0]))
	}
}

func (s *Screen) start(e task.Event) {
	if e.Name == "backup VM" {
		name, _ := e.Data["name_label"].(string)
		if name == "" {
			name, _ = e.Data["id"].(string)
		}
		s.names[e.ID], s.began[e.ID], s.vmOf[e.ID] = name, e.Time, e.ID
		return
	}
	if name, ok := s.names[e.Parent]; ok {
		s.names[e.ID], s.vmOf[e.ID] = name, s.vmOf[e.Parent]
	}
}

func (s *Screen) end(e task.Event) {
	began, isVM := s.began[e.ID]
	switch {
	case isVM && e.Status == task.Success:
		spent := e.Time.Sub(began)
		s.out.Printf("  %s: %s in %s", s.of(e), progress.Bytes(s.bytes[e.ID]), spent.Round(time.Second/10))
	case isVM && e.Err == nil:
		s.out.Printf("  %s: %s", s.of(e), e.Status)
	case e.Err != nil && e.Parent != "":
		s.out.Printf("  %s: %s: %s", s.of(e), e.Status, strings.ReplaceAll(e.Err.Error(), "\n", "\n    "))
	}
}

// of is the VM and the task that an event is about.
func (s *Screen) of(e task.Event) string {
	name := s.names[e.ID]
	switch {
	case name == "":
		return e.Name
	case e.Name == "backup VM":
		return name
	}
	return name + ": " + e.Name
}

func details(data map[string]any) string {
	for _, key := range []string{"setting", "error"} {
		if text, ok := data[key].(string); ok {
			return ": " + text
		}
	}
	return ""
}

// Line is a run in one line: VMs, bytes, rate and the time left.
func Line(r Run) string {
	ended := 0
	for _, vm := range r.VMs {
		if vm.Status != task.Pending {
			ended++
		}
	}
	var b strings.Builder
	if r.Selected+len(r.VMs) == 0 {
		return "looking for the VMs"
	}
	fmt.Fprintf(&b, "%d of %d VMs", ended, max(r.Selected, len(r.VMs)))
	if r.Total > 0 {
		fmt.Fprintf(&b, ", %s of %s", progress.Bytes(r.Done), progress.Bytes(r.Total))
	}
	if r.Rate > 0 {
		left := time.Duration(r.Left * float64(time.Second)).Round(time.Second)
		fmt.Fprintf(&b, ", %s/s, %s left", progress.Bytes(int64(r.Rate)), left)
	}
	return b.String()
}
