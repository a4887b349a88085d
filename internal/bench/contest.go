// Package bench measures programs beside each other: each in a process of its own, so that time, processor time and memory are what
// the system says, several times in turn, with the ratios printed. Commands below it, one for each format, say what is compared.
package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"time"
)

// ChildArg as the first argument makes a program of this module do one thing, print a [Report] as JSON, and end.
const ChildArg = "-child"

// Contest is a run of several comparisons.
type Contest struct {
	Runs   int // measurements of each contestant; the fastest counts
	Wanted *regexp.Regexp
	Dir    string // where the files are
	Size   int64  // of the disk
	Bytes  int64  // what a contestant moves that does not say
}

// Report is what a child says about what it did.
type Report struct {
	Open     time.Duration `json:"open,omitempty"`
	P50, P99 time.Duration
}

// Contestant is one way to do what is measured.
type Contestant struct {
	Name    string
	Command []string // a program, or ChildArg and what it is to do
	Output  string   // is removed before each run; may be empty
	Before  func() error
	Bytes   int64 // what it moves; 0 means what the Contest says
}

// Ours is a contestant of this program.
func Ours(output string, args ...string) Contestant {
	return Contestant{Name: "xenbackup", Command: append([]string{ChildArg}, args...), Output: output}
}

// cost is what one process took.
type cost struct {
	wall, cpu time.Duration
	rss       int64 // its peak, in bytes
	report    Report
}

// Compare measures all contestants in turn, several times, and prints the
// fastest run of each with the ratio of its time to that of the first.
func (b *Contest) Compare(ctx context.Context, title string, all ...Contestant) error {
	if !b.Wanted.MatchString(title) {
		return nil
	}
	best := make([]cost, len(all))
	missing := make([]bool, len(all))
	for run := range b.Runs {
		for i, c := range all {
			if missing[i] {
				continue
			}
			got, err := b.measure(ctx, c)
			if errors.Is(err, exec.ErrNotFound) {
				missing[i] = true
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %s: %w", title, c.Name, err)
			}
			if run == 0 || got.wall < best[i].wall {
				got.rss = max(got.rss, best[i].rss)
				best[i] = got
			}
		}
	}
	fmt.Printf("\n%s\n", title)
	for i, c := range all {
		if missing[i] {
			fmt.Printf("  %-34s not installed\n", c.Name)
			continue
		}
		b.print(c, best[i], best[0])
	}
	return nil
}

func (b *Contest) print(c Contestant, got, first cost) {
	moved := c.Bytes
	if moved == 0 {
		moved = b.Bytes
	}
	fmt.Printf("  %-34s %7.3f s  cpu %6.2f s %5.2f s/GiB  %6.0f MB/s  rss %4d MiB", c.Name, got.wall.Seconds(), got.cpu.Seconds(),
		got.cpu.Seconds()*(1<<30)/float64(moved), float64(moved)/1e6/got.wall.Seconds(), got.rss>>20)
	if first.wall != got.wall {
		fmt.Printf("  %5.2fx the time, %5.2fx the cpu of the first", got.wall.Seconds()/first.wall.Seconds(), got.cpu.Seconds()/max(first.cpu.Seconds(), 0.001))
	}
	if r := got.report; r.P50 > 0 {
		fmt.Printf("  p50 %.2f us  p99 %.2f us", float64(r.P50.Nanoseconds())/1e3, float64(r.P99.Nanoseconds())/1e3)
	}
	if r := got.report; r.Open > 0 {
		fmt.Printf("  open %.3f ms", float64(r.Open.Nanoseconds())/1e6)
	}
	fmt.Println()
}

// Run runs one contestant once, without measuring it.
func (b *Contest) Run(ctx context.Context, c Contestant) error {
	_, err := b.measure(ctx, c)
	return err
}

// measure runs one contestant once.
func (b *Contest) measure(ctx context.Context, c Contestant) (cost, error) {
	if c.Output != "" {
		if err := os.RemoveAll(c.Output); err != nil {
			return cost{}, err
		}
	}
	if c.Before != nil {
		if err := c.Before(); err != nil {
			return cost{}, err
		}
	}
	name, args := c.Command[0], c.Command[1:]
	if name == ChildArg {
		self, err := os.Executable()
		if err != nil {
			return cost{}, err
		}
		name, args = self, c.Command
	}
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	got := cost{wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	got.rss = peakMemory(cmd.ProcessState)
	if slices.Contains(c.Command, ChildArg) {
		if err := json.Unmarshal(stdout.Bytes(), &got.report); err != nil {
			return cost{}, err
		}
	}
	return got, nil
}
