// Command fullbench measures full backups of a simulated pool to a local folder beside
// what nobody can be faster than: copying and syncing the same bytes, and their MD5,
// which Xen Orchestra wants beside an archive. The pool is a process of its own, and
// so is each measurement, so that memory and processor time are those of the backup.
//
//	go run ./internal/bench/fullbench                  all, as "make bench" does
//	go run ./internal/bench/fullbench -mib 512 -dir /mnt
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
		fmt.Fprintln(os.Stderr, "fullbench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) > 0 && args[0] == bench.ChildArg {
		return runChild(ctx, args[1:])
	}
	flags := flag.NewFlagSet("fullbench", flag.ContinueOnError)
	mib := flags.Int64("mib", 2048, "size of the disk in MiB, all of it data")
	runs := flags.Int("runs", 3, "measurements of each case; the fastest counts")
	only := flags.String("only", "", "regular expression of the cases to run")
	base := flags.String("dir", "/dev/shm", "where the files are made; about three times the disk is needed")
	source := flags.String("files", "/usr/lib", "directory whose files are the content of the disk that compresses")
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(*base, "fullbench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &fullBench{Contest: bench.Contest{Runs: *runs, Wanted: wanted, Bytes: *mib << 20}, dir: dir}
	fmt.Printf("%s/%s, %d processors, disks of %d MiB\n", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), *mib)
	if err := b.plain(ctx); err != nil {
		return err
	}
	return b.compressed(ctx, *source)
}

// fullBench is one run of the program.
type fullBench struct {
	bench.Contest

	dir string
}

func (b *fullBench) path(name string) string { return filepath.Join(b.dir, name) }

// plain is a disk that does not compress, as it is.
func (b *fullBench) plain(ctx context.Context) error {
	const title = "full backup of a disk that does not compress, to a folder"
	if !b.Wanted.MatchString(title) {
		return nil
	}
	content := b.path("content")
	if err := random(content, b.Bytes); err != nil {
		return err
	}
	p, err := b.startPool(ctx, content)
	if err != nil {
		return err
	}
	err = errors.Join(os.Remove(content), b.comparePlain(ctx, title, p))
	return errors.Join(err, p.stop())
}

func (b *fullBench) comparePlain(ctx context.Context, title string, p *poolProcess) error {
	folder := b.path("repository")
	backup := bench.Ours(folder, "backup", folder, "none", p.address)
	if err := b.Run(ctx, backup); err != nil {
		return err
	}
	archive, err := archiveOf(folder)
	if err != nil {
		return err
	}
	same := b.path("archive")
	if err := os.Rename(archive, same); err != nil {
		return err
	}
	return b.Compare(ctx, title,
		backup,
		bench.Contestant{Name: "copy and fsync of its bytes", Command: []string{bench.ChildArg, "copy", same, b.path("copy")}, Output: b.path("copy")},
		bench.Contestant{Name: "MD5 of its bytes", Command: []string{bench.ChildArg, "md5", same}},
	)
}

// compressed is a disk of files, as the pool compresses it.
func (b *fullBench) compressed(ctx context.Context, source string) error {
	const title = "full backup of a disk of files, compressed by the pool"
	if !b.Wanted.MatchString(title) {
		return nil
	}
	content := b.path("content")
	size, err := files(content, source, b.Bytes/4)
	if err != nil {
		return err
	}
	p, err := b.startPool(ctx, content)
	if err != nil {
		return err
	}
	var all []bench.Contestant
	for _, kind := range []string{"none", "native", "zstd"} {
		folder := b.path("repository-" + kind)
		c := bench.Ours(folder, "backup", folder, kind, p.address)
		c.Name, c.Bytes = "compression "+kind, size
		all = append(all, c)
	}
	err = b.Compare(ctx, title, all...)
	for _, c := range all {
		archive, listErr := archiveOf(c.Output)
		if listErr != nil {
			return errors.Join(err, listErr, p.stop())
		}
		info, statErr := os.Stat(archive)
		if statErr != nil {
			return errors.Join(err, statErr, p.stop())
		}
		fmt.Printf("  %-34s %6.1f %% of the disk\n", c.Name, float64(info.Size())*100/float64(size))
	}
	return errors.Join(err, p.stop())
}

// archiveOf returns the one archive of a repository.
func archiveOf(folder string) (string, error) {
	found, err := filepath.Glob(filepath.Join(folder, "xo-vm-backups", "*", "*.xva"))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%d archives in %s", len(found), folder)
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}
