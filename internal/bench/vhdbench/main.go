// Command vhdbench measures package vhd beside the tools that others use: the
// same files, the same run, each measurement in a process of its own, so that time,
// processor time and memory are what the system says. Everything happens on a tmpfs.
//
//	go run ./internal/bench/vhdbench            all, as "make bench" does
//	go run ./internal/bench/vhdbench -mib 512 -only 'chain'
package main

import (
	"context"

	"github.com/xenbackup/xenbackup/internal/bench"
)

func main() {
	(&bench.Program{
		Name: "vhdbench", MiB: 4096, Disk: "size of the disk in MiB; 55 % of it is data",
		Room: "about five times the data is needed", Child: runChild,
		Cases: func(ctx context.Context, c *bench.Contest) error { return (&vhdBench{c}).all(ctx) },
	}).Main()
}

// vhdBench is one run of the program.
type vhdBench struct{ *bench.Contest }
