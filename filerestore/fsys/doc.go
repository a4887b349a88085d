// Package fsys is what the readers of file systems have in common: how the
// files of a volume are named, listed, described and read, whichever format
// they are kept in. The readers are packages below this one: fsys/ext reads
// ext2, ext3 and ext4, fsys/fat FAT12, FAT16 and FAT32, fsys/exfat exFAT.
//
// A reader works over an [io.ReaderAt], never writes, needs no root and no
// mount, and takes whatever it finds for hostile: damage ends in an error that
// says where ([FormatError]), never in a panic, a loop or unbounded memory.
//
// # Two ways in
//
// By node: [Nodes] is the primary interface, and all that a reader has to
// implement. A file is a [NodeID], a directory is listed in pages, and names
// are the bytes of the volume, whatever they are. Nothing is resolved by path,
// so that a million files are walked in a few MiB:
//
//	for item, err := range fsys.Walk(ctx, vol, vol.Root(), nil) { ... }
//
// By path: [Paths] makes an [io/fs.FS] of any [Nodes]; each reader embeds one,
// and so meets [FS]. Names that a path cannot carry are escaped (see [Escape]);
// symbolic links are followed inside the volume alone.
//
// # Files
//
// The content of a regular file is a [disk.Source]: it is read at any offset,
// by any number of goroutines, and tells its holes. [File] adds a position to
// it, for those who read from start to end.
//
// # What a volume says about itself
//
// A volume copied while it was in use is not an error. Where a reader cannot
// show what the operating system would show after its own recovery, a
// [Warning] says so, and what may be missing.
//
// # Writing a reader
//
// Implement [Nodes]; give regular files as disk.Source to [NewFile]; embed
// [NewPaths] of yourself; check everything with Walk. Calls block in the
// reader's io.ReaderAt alone: whoever opens that binds the context there.
package fsys
