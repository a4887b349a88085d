// Package progress shows on a terminal how far the runs of a job are, and in a
// log what they did: for the example programs.
package progress

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/pipeline/task"
)

// redraw is how often a line that is rewritten is rewritten at most.
const redraw = 100 * time.Millisecond

// Printer prints progress. On a terminal one line is rewritten with the bytes
// done, the rate and the time left; elsewhere only what has ended is printed. It
// is a [task.Observer], and its methods may be called concurrently.
type Printer struct {
	w        io.Writer
	terminal bool

	mu     sync.Mutex
	began  map[string]time.Time // start of each task that moves bytes, by its id
	done   map[string]int64
	drawn  time.Time
	length int // of the line that stands there
}

// New returns a Printer on w, which is a terminal or not.
func New(w io.Writer, terminal bool) *Printer {
	return &Printer{w: w, terminal: terminal, began: map[string]time.Time{}, done: map[string]int64{}}
}

// Observe implements [task.Observer].
func (p *Printer) Observe(e task.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case task.EventProgress:
		p.move(e.ID, e.Name, e.Done, e.Total, e.Time)
	case task.EventWarning:
		p.print(fmt.Sprintf("  %s: warning: %s", e.Name, e.Message))
	case task.EventEnd:
		p.end(e)
	}
}

// Move shows that a named piece of work, not part of a run, is at done of total bytes;
// a total of 0 is not known.
func (p *Printer) Move(name string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.move(name, name, done, total, time.Now())
	if done == total && total > 0 {
		p.print("  " + name + ": " + p.moved(name, time.Now()))
	}
}

// Printf prints a line that stays.
func (p *Printer) Printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.print(fmt.Sprintf(format, args...))
}

func (p *Printer) move(id, name string, done, total int64, now time.Time) {
	if _, ok := p.began[id]; !ok {
		p.began[id] = now
	}
	p.done[id] = done
	if !p.terminal || now.Sub(p.drawn) < redraw {
		return
	}
	p.drawn = now
	line := fmt.Sprintf("  %s: %s", name, Amount(done, total, now.Sub(p.began[id])))
	fmt.Fprintf(p.w, "\r%s%s", line, strings.Repeat(" ", max(0, p.length-len(line))))
	p.length = len(line)
}

func (p *Printer) end(e task.Event) {
	moved := p.moved(e.ID, e.Time)
	delete(p.began, e.ID)
	delete(p.done, e.ID)
	switch {
	case e.Status != task.Success && e.Err != nil:
		p.print(fmt.Sprintf("  %s: %s: %v", e.Name, e.Status, e.Err))
	case moved != "":
		p.print(fmt.Sprintf("  %s: %s", e.Name, moved))
	}
}

// moved says how much a task has moved, and how fast; "" when it moved nothing.
func (p *Printer) moved(id string, now time.Time) string {
	began, ok := p.began[id]
	if !ok || p.done[id] == 0 {
		return ""
	}
	spent := max(now.Sub(began), time.Millisecond)
	return fmt.Sprintf("%s, %s/s", Bytes(p.done[id]), Bytes(int64(float64(p.done[id])/spent.Seconds())))
}

// Clear removes the line that is rewritten, so that somebody else may print.
func (p *Printer) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *Printer) clear() {
	if p.length > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.length))
		p.length = 0
	}
}

func (p *Printer) print(line string) {
	p.clear()
	fmt.Fprintln(p.w, line)
}

// Amount says how far something is that has moved done of total bytes since it began, how
// fast, and how long the rest takes; a total of 0 is not known.
func Amount(done, total int64, spent time.Duration) string {
	text := Bytes(done)
	if total > 0 {
		text += " of " + Bytes(total)
	}
	if spent <= 0 || done <= 0 {
		return text
	}
	text += fmt.Sprintf(", %s/s", Bytes(int64(float64(done)/spent.Seconds())))
	if total > 0 {
		left := time.Duration(float64(spent) * float64(total-done) / float64(done))
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	return text
}

// Bytes writes a number of bytes for people.
func Bytes(n int64) string {
	const unit = 1 << 10
	value, suffix := float64(n), "B"
	for _, s := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < unit {
			break
		}
		value, suffix = value/unit, s
	}
	if suffix == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, suffix)
}
