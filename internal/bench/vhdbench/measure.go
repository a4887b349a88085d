package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"
)

// cost is what one process took.
type cost struct {
	Wall, CPU time.Duration
	RSS       int64 // its peak, in bytes
	Report    report
}

// report is what a child of this program says about what it did.
type report struct {
	Open     time.Duration `json:"open,omitempty"`
	P50, P99 time.Duration
}

// contestant is one way to do what is measured.
type contestant struct {
	name    string
	command []string // a program, or childArg and what it is to do
	output  string   // is removed before each run; may be empty
	before  func() error
	bytes   int64 // what it moves; 0 means the data of the disk
}

// ours is a contestant of this program.
func ours(output string, args ...string) contestant {
	return contestant{name: "xenbackup", command: append([]string{childArg}, args...), output: output}
}

// compare measures all contestants in turn, several times, and prints the
// fastest run of each with the ratio of its time to that of the first.
func (b *bench) compare(ctx context.Context, title string, all ...contestant) error {
	if !b.wanted.MatchString(title) {
		return nil
	}
	best := make([]cost, len(all))
	missing := make([]bool, len(all))
	for run := range b.runs {
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
				return fmt.Errorf("%s: %s: %w", title, c.name, err)
			}
			if run == 0 || got.Wall < best[i].Wall {
				got.RSS = max(got.RSS, best[i].RSS)
				best[i] = got
			}
		}
	}
	fmt.Printf("\n%s\n", title)
	for i, c := range all {
		if missing[i] {
			fmt.Printf("  %-34s not installed\n", c.name)
			continue
		}
		b.print(c, best[i], best[0])
	}
	return nil
}

func (b *bench) print(c contestant, got, first cost) {
	moved := c.bytes
	if moved == 0 {
		moved = b.data
	}
	fmt.Printf("  %-34s %7.3f s  cpu %6.2f s  %6.0f MB/s  rss %4d MiB", c.name, got.Wall.Seconds(), got.CPU.Seconds(),
		float64(moved)/1e6/got.Wall.Seconds(), got.RSS>>20)
	if first.Wall != got.Wall {
		fmt.Printf("  %5.2fx the time, %5.2fx the cpu of the first", got.Wall.Seconds()/first.Wall.Seconds(), got.CPU.Seconds()/max(first.CPU.Seconds(), 0.001))
	}
	if r := got.Report; r.P50 > 0 {
		fmt.Printf("  p50 %.2f us  p99 %.2f us", float64(r.P50.Nanoseconds())/1e3, float64(r.P99.Nanoseconds())/1e3)
	}
	if r := got.Report; r.Open > 0 {
		fmt.Printf("  open %.3f ms", float64(r.Open.Nanoseconds())/1e6)
	}
	fmt.Println()
}

// measure runs one contestant once.
func (b *bench) measure(ctx context.Context, c contestant) (cost, error) {
	if c.output != "" {
		if err := os.RemoveAll(c.output); err != nil {
			return cost{}, err
		}
	}
	if c.before != nil {
		if err := c.before(); err != nil {
			return cost{}, err
		}
	}
	name, args := c.command[0], c.command[1:]
	if name == childArg {
		self, err := os.Executable()
		if err != nil {
			return cost{}, err
		}
		name, args = self, c.command
	}
	cmd := exec.CommandContext(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	got := cost{Wall: time.Since(start), CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	got.RSS = peakMemory(cmd.ProcessState)
	if slices.Contains(c.command, childArg) {
		if err := json.Unmarshal(stdout.Bytes(), &got.Report); err != nil {
			return cost{}, err
		}
	}
	return got, nil
}
