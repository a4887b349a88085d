package filerestore

import (
	"context"
	"io"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/exfat"
	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
	"github.com/xenbackup/xenbackup/filerestore/fsys/fat"
)

// Reader reads one family of file systems.
type Reader struct {
	Family string // as package probe names it: "ext", "fat", "exfat", "ntfs", "xfs", "btrfs", ...
	// Open opens a volume of size bytes. ctx is for the opening alone. cacheSize bounds the
	// metadata kept in memory, in bytes; 0 leaves it to the reader.
	Open func(ctx context.Context, r io.ReaderAt, size, cacheSize int64) (fsys.FS, error)
	// OpenAmong is called in place of Open, unless it is nil: it is for file systems that
	// keep a part of themselves on other volumes.
	OpenAmong func(ctx context.Context, r io.ReaderAt, size, cacheSize int64, others Others) (fsys.FS, error)
}

// Others finds another volume of the session, by the family of what it holds and its UUID;
// false where there is none, or more than one.
type Others func(family, uuid string) (r io.ReaderAt, size int64, ok bool)

// Readers returns those of this library, with their defaults. To have others, such as the
// time zone of FAT volumes, put a Reader of yours before them in Options.Readers.
func Readers() []Reader {
	return []Reader{
		{Family: "ext", Open: func(ctx context.Context, r io.ReaderAt, size, cacheSize int64) (fsys.FS, error) {
			return ext.Open(ctx, r, size, &ext.Options{CacheSize: cacheSize})
		}, OpenAmong: func(ctx context.Context, r io.ReaderAt, size, cacheSize int64, others Others) (fsys.FS, error) {
			journal := func(uuid string) (io.ReaderAt, int64, bool) { return others("jbd", uuid) }
			return ext.Open(ctx, r, size, &ext.Options{CacheSize: cacheSize, Journal: journal})
		}},
		{Family: "fat", Open: func(ctx context.Context, r io.ReaderAt, size, cacheSize int64) (fsys.FS, error) {
			return fat.Open(ctx, r, size, &fat.Options{CacheSize: cacheSize})
		}},
		{Family: "exfat", Open: func(ctx context.Context, r io.ReaderAt, size, cacheSize int64) (fsys.FS, error) {
			return exfat.Open(ctx, r, size, &exfat.Options{CacheSize: cacheSize})
		}},
	}
}
