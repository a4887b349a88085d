package filerestore

import (
	"context"
	"io"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/ext"
)

// Reader reads one family of file systems.
type Reader struct {
	Family string // as package probe names it: "ext", "fat", "exfat", "ntfs", "xfs", "btrfs", ...
	// Open opens a volume of size bytes. ctx is for the opening alone. cacheSize bounds the
	// metadata kept in memory, in bytes; 0 leaves it to the reader.
	Open func(ctx context.Context, r io.ReaderAt, size, cacheSize int64) (fsys.FS, error)
}

// Readers returns those of this library.
func Readers() []Reader {
	return []Reader{
		{"ext", func(ctx context.Context, r io.ReaderAt, size, cacheSize int64) (fsys.FS, error) {
			return ext.Open(ctx, r, size, &ext.Options{CacheSize: cacheSize})
		}},
	}
}
