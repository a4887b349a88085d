// Command xvabench measures package xva beside xva-img and GNU tar: the same files, the same run, each measurement in a process of its
// own, on a tmpfs. xva-img reads and writes a directory of chunks, so that to read an archive takes tar before it, and to write one
// its own packaging behind it; each step is also measured alone.
//
//	go run ./internal/bench/xvabench            all, as "make bench" does
//	go run ./internal/bench/xvabench -mib 512 -only read
package main

import (
	"context"

	"github.com/xenbackup/xenbackup/internal/bench"
)

func main() {
	(&bench.Program{
		Name: "xvabench", MiB: 2048, Disk: "size of the disk in MiB; 55 % of it is data",
		Room: "about five times the data is needed", Child: runChild,
		Cases: func(ctx context.Context, c *bench.Contest) error { return (&xvaBench{c}).all(ctx) },
	}).Main()
}

// xvaBench is one run of the program.
type xvaBench struct{ *bench.Contest }
