// Command vhdbench measures package vhd beside the tools that others use: the
// same files, the same run, each measurement in a process of its own, so that time,
// processor time and memory are what the system says. Everything happens on a tmpfs.
//
//	go run ./internal/bench/vhdbench            all, as "make bench" does
//	go run ./internal/bench/vhdbench -mib 512 -only 'chain'
package main

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

	"github.com/xenbackup/xenbackup/internal/bench"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vhdbench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) > 0 && args[0] == bench.ChildArg {
		return runChild(ctx, args[1:])
	}
	flags := flag.NewFlagSet("vhdbench", flag.ContinueOnError)
	mib := flags.Int64("mib", 4096, "size of the disk in MiB; 55 % of it is data")
	runs := flags.Int("runs", 3, "measurements of each case; the fastest counts")
	only := flags.String("only", "", "regular expression of the cases to run")
	base := flags.String("dir", "/dev/shm", "where the files are made; about five times the data is needed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(*base, "vhdbench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &vhdBench{Contest: bench.Contest{Runs: *runs, Wanted: wanted}, dir: dir, size: *mib << 20}
	fmt.Printf("%s/%s, %d processors, disk of %d MiB\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), *mib)
	return b.all(ctx)
}

// vhdBench is one run of the program.
type vhdBench struct {
	bench.Contest

	dir  string
	size int64 // of the disk; Bytes of it are data
}

func (b *vhdBench) path(name string) string { return filepath.Join(b.dir, name) }
