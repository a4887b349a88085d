package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
)

// Program is a command that compares.
type Program struct {
	Name string
	MiB  int64  // of the disk, unless a flag says otherwise
	Disk string // what the size is of, for the help
	Room string // how much room the directory needs, for the help

	Flags func(*flag.FlagSet) // adds more; may be nil
	Child func(ctx context.Context, args []string) error
	Cases func(ctx context.Context, c *Contest) error
}

// Main runs the program, as a child if the first argument says so, and ends it.
func (p *Program) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := p.run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, p.Name+":", err)
		os.Exit(1)
	}
}

func (p *Program) run(ctx context.Context, args []string) (err error) {
	if len(args) > 0 && args[0] == ChildArg {
		return p.Child(ctx, args[1:])
	}
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	mib := flags.Int64("mib", p.MiB, p.Disk)
	runs := flags.Int("runs", 3, "measurements of each case; the fastest counts")
	only := flags.String("only", "", "regular expression of the cases to run")
	base := flags.String("dir", "/dev/shm", "where the files are made; "+p.Room)
	if p.Flags != nil {
		p.Flags(flags)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(*base, p.Name+"-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Printf("%s/%s, %d processors, disk of %d MiB\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), *mib)
	return p.Cases(ctx, &Contest{Runs: *runs, Wanted: wanted, Dir: dir, Size: *mib << 20})
}

// Path names a file in the directory of the contest.
func (b *Contest) Path(name string) string { return filepath.Join(b.Dir, name) }
