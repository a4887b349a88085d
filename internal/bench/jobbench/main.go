// Command jobbench measures jobs from end to end, from login to commit: delta backups
// of a simulated pool to a folder and to a real NFS server, beside a bare copy of the
// same stream that also digests and syncs, and what memory a job of many large disks
// takes. The pool is a process of its own, and so is each measurement.
//
//	go run ./internal/bench/jobbench                  all, as "make bench" does
//	go run ./internal/bench/jobbench -only NFS -mib 512
package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/xenbackup/xenbackup/internal/bench"
	"github.com/xenbackup/xenbackup/internal/testenv"
)

func main() {
	(&bench.Program{
		Name: "jobbench", MiB: 768, Disk: "size of the disk in MiB, all of it data",
		Room: "about eight times the disk is needed, and 7 GiB for many disks", Child: runChild,
		Cases: func(ctx context.Context, c *bench.Contest) error {
			b := &jobBench{c}
			return errors.Join(b.folder(ctx), b.server(ctx), b.many(ctx))
		},
	}).Main()
}

// jobBench is one run of the program.
type jobBench struct{ *bench.Contest }

// folder compares backups to a folder.
func (b *jobBench) folder(ctx context.Context) error {
	return b.compareTo(ctx, "a folder", "file://"+filepath.ToSlash(b.Path("folder")))
}

// server compares backups to an NFS server on this machine.
func (b *jobBench) server(ctx context.Context) error {
	const name = "NFS-Ganesha"
	if !b.wants(name) {
		return nil
	}
	err := testenv.RunGanesha(ctx, b.Dir, func(g *testenv.Ganesha) error {
		return b.compareTo(ctx, name, g.URL(testenv.ExportData))
	})
	if errors.Is(err, testenv.ErrMissing) {
		fmt.Printf("\n%s: %v\n", name, err)
		return nil
	}
	return err
}

func fullTitle(name string) string { return "first backup of a delta job, to " + name }
func deltaTitle(name string) string {
	return "delta backup of a disk of which a quarter has changed, to " + name
}

func (b *jobBench) wants(name string) bool {
	return b.Wanted.MatchString(fullTitle(name)) || b.Wanted.MatchString(deltaTitle(name))
}

// compareTo compares backups to a place that name is for people.
func (b *jobBench) compareTo(ctx context.Context, name, to string) error {
	if !b.wants(name) {
		return nil
	}
	s, err := b.setUp(ctx, to, 1, b.Size, b.Size)
	if err != nil {
		return err
	}
	return errors.Join(s.compare(ctx, name), s.tearDown(ctx))
}

// many backs up many large disks of which little is data, all at once.
func (b *jobBench) many(ctx context.Context) error {
	const title = "first backup of 16 VMs with disks of 8 GiB, all at once, to a folder"
	if !b.Wanted.MatchString(title) {
		return nil
	}
	const vms, size, data = 16, 8 << 30, 128 << 20
	s, err := b.setUp(ctx, "file://"+filepath.ToSlash(b.Path("folder")), vms, size, data)
	if err != nil {
		return err
	}
	s.Bytes = vms * data
	return errors.Join(s.Compare(ctx, title, s.job(ctx, nil)), s.tearDown(ctx))
}
