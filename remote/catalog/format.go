package catalog

import (
	"fmt"

	"github.com/xenbackup/xenbackup/vhd"
)

// DiskFormat says how the disk of a delta point is kept.
type DiskFormat string

// The formats. Xen Orchestra reads all of them. It continues a chain only if all
// of it is kept as its own settings for the repository say: files, or directories
// with brotli; otherwise, as here, the next backup of the disk is a full one.
const (
	// FormatAuto continues a chain as it is. A chain that begins is of files, in a
	// repository encrypted at rest of directories with brotli.
	FormatAuto DiskFormat = ""
	// FormatFile is one VHD file.
	FormatFile DiskFormat = "file"
	// FormatBrotli is a directory behind an alias, with a file for each block that is
	// compressed with brotli: what Xen Orchestra writes where it keeps directories.
	FormatBrotli DiskFormat = "brotli"
	// FormatGzip is a directory whose files are compressed with gzip.
	FormatGzip DiskFormat = "gzip"
	// FormatPlain is a directory whose files are not compressed.
	FormatPlain DiskFormat = "plain"
)

// filter returns the compression of a format that is a directory.
func (f DiskFormat) filter() (filter vhd.ChunkFilter, isDirectory bool) {
	switch f {
	case FormatBrotli:
		return vhd.FilterBrotli, true
	case FormatGzip:
		return vhd.FilterGzip, true
	case FormatPlain:
		return vhd.FilterNone, true
	}
	return "", false
}

// suffix ends the names of the disks of a format.
func (f DiskFormat) suffix() string {
	if _, isDirectory := f.filter(); isDirectory {
		return ".alias.vhd"
	}
	return ".vhd"
}

func (f DiskFormat) check() error {
	switch f {
	case FormatAuto, FormatFile, FormatBrotli, FormatGzip, FormatPlain:
		return nil
	}
	return fmt.Errorf("catalog: disk format %q: %w", string(f), ErrFormat)
}

// formatOf tells how an image is kept.
func formatOf(img *vhd.Image) DiskFormat {
	filter, isDirectory := img.Filter()
	switch {
	case !isDirectory:
		return FormatFile
	case filter == vhd.FilterBrotli:
		return FormatBrotli
	case filter == vhd.FilterGzip:
		return FormatGzip
	}
	return FormatPlain
}

// formatFor is the format of a new disk on base, which may be nil.
func (c *Catalog) formatFor(base *Base) DiskFormat {
	switch {
	case c.format != FormatAuto:
		return c.format
	case base != nil:
		return base.Format
	case c.isSealed:
		return FormatBrotli
	}
	return FormatFile
}

// continues tells whether a new disk can be the child of one in the format f.
func (c *Catalog) continues(f DiskFormat) bool {
	if c.isSealed && f == FormatFile {
		return false
	}
	return c.format == FormatAuto || c.format == f
}
