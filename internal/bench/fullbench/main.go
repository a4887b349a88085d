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
	"path/filepath"

	"github.com/xenbackup/xenbackup/internal/bench"
	"github.com/xenbackup/xenbackup/internal/bench/benchpool"
)

func main() {
	source := "/usr/lib"
	(&bench.Program{
		Name: "fullbench", MiB: 2048, Disk: "size of the disk in MiB, all of it data",
		Room: "about three times the disk is needed", Child: runChild,
		Flags: func(f *flag.FlagSet) {
			f.StringVar(&source, "files", source, "directory whose files are the content of the disk that compresses")
		},
		Cases: func(ctx context.Context, c *bench.Contest) error {
			b := &fullBench{c}
			b.Bytes = b.Size
			if err := b.plain(ctx); err != nil {
				return err
			}
			return b.compressed(ctx, source)
		},
	}).Main()
}

// fullBench is one run of the program.
type fullBench struct{ *bench.Contest }

// plain is a disk that does not compress, as it is.
func (b *fullBench) plain(ctx context.Context) error {
	const title = "full backup of a disk that does not compress, to a folder"
	if !b.Wanted.MatchString(title) {
		return nil
	}
	content := b.Path("content")
	if err := random(content, b.Bytes); err != nil {
		return err
	}
	p, err := benchpool.Start(ctx, "pool", content, b.Path("pool"))
	if err != nil {
		return err
	}
	err = errors.Join(os.Remove(content), b.comparePlain(ctx, title, p))
	return errors.Join(err, p.Stop())
}

func (b *fullBench) comparePlain(ctx context.Context, title string, p *benchpool.Process) error {
	folder := b.Path("repository")
	backup := bench.Ours(folder, "backup", folder, "none", p.Address())
	if err := b.Run(ctx, backup); err != nil {
		return err
	}
	archive, err := archiveOf(folder)
	if err != nil {
		return err
	}
	same := b.Path("archive")
	if err := os.Rename(archive, same); err != nil {
		return err
	}
	return b.Compare(ctx, title,
		backup,
		bench.Contestant{Name: "receive, write, sync and MD5 alone", Command: []string{bench.ChildArg, "least", b.Path("least"), p.Address()}, Output: b.Path("least")},
		bench.Contestant{Name: "copy and fsync of its bytes", Command: []string{bench.ChildArg, "copy", same, b.Path("copy")}, Output: b.Path("copy")},
		bench.Contestant{Name: "MD5 of its bytes", Command: []string{bench.ChildArg, "md5", same}},
	)
}

// compressed is a disk of files, as the pool compresses it.
func (b *fullBench) compressed(ctx context.Context, source string) error {
	const title = "full backup of a disk of files, compressed by the pool"
	if !b.Wanted.MatchString(title) {
		return nil
	}
	content := b.Path("content")
	size, err := files(content, source, b.Bytes/4)
	if err != nil {
		return err
	}
	p, err := benchpool.Start(ctx, "pool", content, b.Path("pool"))
	if err != nil {
		return err
	}
	var all []bench.Contestant
	for _, kind := range []string{"none", "native", "zstd"} {
		folder := b.Path("repository-" + kind)
		c := bench.Ours(folder, "backup", folder, kind, p.Address())
		c.Name, c.Bytes = "compression "+kind, size
		all = append(all, c)
	}
	err = b.Compare(ctx, title, all...)
	for _, c := range all {
		archive, listErr := archiveOf(c.Output)
		if listErr != nil {
			return errors.Join(err, listErr, p.Stop())
		}
		info, statErr := os.Stat(archive)
		if statErr != nil {
			return errors.Join(err, statErr, p.Stop())
		}
		fmt.Printf("  %-34s %6.1f %% of the disk\n", c.Name, float64(info.Size())*100/float64(size))
	}
	return errors.Join(err, p.Stop())
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
