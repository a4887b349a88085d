// Quickstart shows the whole of a backup on a machine with Go alone: it starts a
// simulated pool with a VM of two disks, backs the VM up five times while its
// guest writes, lets restore points expire and merges their disks, restores the
// oldest and the newest point as new VMs, and compares every disk with what the
// guest's disk held at that moment.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/xenbackup/xenbackup/examples/internal/progress"
)

const usage = `Usage: quickstart [-dir DIR] [-size MIB]

Backs up a VM of a simulated pool five times into a folder, keeping three
restore points, restores the oldest and the newest, and compares every disk
with what the guest's disk held. Nothing but Go is needed, and nothing outside
the folder is changed.

`

// errDiffers makes the exit code tell a wrong disk from a failure to try.
var errDiffers = errors.New("a disk differs from what the guest's disk held: see the table")

func main() {
	dir := flag.String("dir", "", "folder for the repository, kept afterwards; it must be empty or not exist (default: a temporary one, removed)")
	size := flag.Int64("size", 256, "size of the second, mostly empty disk in `MIB`, at least 64")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
		fmt.Fprint(flag.CommandLine.Output(), "\nExit codes: 0 all disks are the same, 1 one differs, 2 the arguments are wrong, 3 something failed. (\"go run\" turns each but 0 into 1.)\n")
	}
	flag.Parse()
	if flag.NArg() > 0 || *size < 64 || *size > 1<<20 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := run(ctx, *dir, *size<<20)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "quickstart:", err)
	if errors.Is(err, errDiffers) {
		os.Exit(1)
	}
	os.Exit(3)
}

func run(ctx context.Context, dir string, size int64) (err error) {
	work, err := os.MkdirTemp("", "xenbackup-quickstart-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	where := "the folder was temporary; run again with -dir DIR to look at it"
	if dir == "" {
		dir = filepath.Join(work, "repository")
	} else {
		where = "the repository is in " + dir
	}
	if err := prepareFolder(dir); err != nil {
		return err
	}
	out := progress.New(os.Stdout, isTerminal(os.Stdout))
	rows, err := tell(ctx, out, work, dir, size)
	if err != nil {
		return err
	}
	fmt.Println()
	if err := printTable(os.Stdout, rows); err != nil {
		return err
	}
	fmt.Printf("\nEvery disk is what the guest's disk held; %s.\n", where)
	return nil
}

// prepareFolder makes the folder, and refuses one with something in it: the
// quickstart must not mix its points with others.
func prepareFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: name another folder with -dir", dir)
	}
	return nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
