// Package vhd reads, writes and merges virtual hard disks (VHD), the format in
// which Xen hosts exchange disks and in which backups keep them.
//
// # Reading
//
// [Open] reads one image of any origin: fixed, dynamic or differencing, with
// blocks of any power of two up to 16 MiB, of which some sectors may be missing.
// [OpenDirectory] reads one that Xen Orchestra (XO) keeps as a directory, a file per
// block. [OpenChain] joins a differencing image with its parents to one disk;
// [OpenDirChain] also finds them, by any of the names that the tools of this format
// write, and sees through merges that were interrupted. Image and chain are a
// [disk.Source]: an io.ReaderAt that also says where data is. [Diff] yields what
// changed between two points of a chain.
//
// Files come from elsewhere, so nothing in them is believed. Time and memory are
// bounded by the size of the file, names of parents never lead out of the directory
// that was opened, the uuid of a parent is compared with what its child asks for, and
// what cannot be right is a [*FormatError] that says where it is. A file that shrinks
// while it is read gives an error, never zeros. [Recover] opens files whose end or
// beginning is damaged, and reports what it went over.
//
// A chain takes 2 bytes of memory per block of its disk and, for each image, 8 per
// block that it holds and an eighth per block of the disk (4 where it holds more than
// a quarter of the blocks). Of a disk of 2 TiB, that is 2 MiB and for each image of few
// blocks 128 KiB. Bitmaps are read when a block is first asked for. A read in
// the middle of a chain costs one look at the map, whatever the length of the chain, and
// allocates nothing.
//
// A stream, as a host exports it, is read with [NewStreamReader] block by block.
// Its Close proves that the stream was complete.
//
// # Writing
//
// A [Layout] describes an image before its first byte is written, so that its
// exact length is known. [NewStreamWriter] takes blocks from the caller,
// [NewExport] takes them from a disk and is the body of an upload.
//
// [Create] and [OpenRW] write an image in place, in any order, grow it and give it
// another parent; see [RW] for what survives a crash. [Flatten] and [FlattenRaw] copy a
// chain, or any other disk, to one image or a raw file by the fastest way the files
// allow. [NewDirectoryWriter] writes the flavour that XO keeps in a directory.
//
// What is written is what all readers agree on: blocks of 2 MiB in ascending
// order with every sector present, two identical footers, a geometry that does not
// exceed the size, a creator that makes qemu believe the size, a relative parent name
// in the header and in a W2ru locator.
//
// # Merging
//
// [Merge] makes one image of several, in place, keeping a journal in the format of
// XO, so that either can finish after a crash of the other. Images are files or
// directories; of directories it renames the files of blocks.
//
// # Checking and repairing
//
// [Check] examines an image, its parents, its bitmaps or all of its data, as deep as
// it is told, and reports every [Finding] with its place. [PlanRepair] says what
// can be mended without a guess, and how; [RepairPlan.Apply] does that.
//
// # The format
//
// All numbers are big-endian, a sector is 512 bytes, and a uuid is its 16 bytes
// in the order in which it is written. A fixed disk is its data and a footer. The
// others consist of
//
//	footer copy | header | ... | block table | ... blocks ... | footer
//
// where only the footers have a fixed place. The footer, 512 bytes:
//
//	 0  8  "conectix"
//	 8  4  features; 2 is always set
//	12  4  version 0x00010000
//	16  8  offset of the header; all ones for a fixed disk
//	24  4  timestamp, seconds since 2000-01-01T00:00Z (XO: since 1970)
//	28  4  creator application, such as "win ", "tap\0", "caml", "xo  "
//	32  4  creator version
//	36  4  creator host, such as "Wi2k"
//	40  8  original size in bytes
//	48  8  current size in bytes: the size of the disk
//	56  4  geometry: cylinders (2), heads (1), sectors (1)
//	60  4  type: 2 fixed, 3 dynamic, 4 differencing
//	64  4  checksum: complement of the sum of all other bytes
//	68 16  uuid of the disk
//	84  1  saved state
//	85  1  hidden (blktap)
//	86     zeros
//
// The header, 1024 bytes:
//
//	  0  8  "cxsparse"
//	  8  8  all ones
//	 16  8  offset of the block table
//	 24  4  version 0x00010000
//	 28  4  entries of the table; at least as many as the disk has blocks
//	 32  4  bytes of a block
//	 36  4  checksum, as in the footer
//	 40 16  uuid of the parent
//	 56  4  timestamp of the parent
//	 64 512 name of the parent in UTF-16BE; XO: relative to the image
//	576 192 eight parent locators
//	768     zeros
//
// A parent locator, 24 bytes:
//
//	 0  4  code: "W2ru", "W2ku", "MacX"
//	 4  4  space reserved for the name, in sectors (Hyper-V and libvhd: in bytes)
//	 8  4  bytes of the name
//	16  8  offset of the name
//
// The block table has 4 bytes per block: the sector at which the block begins,
// all ones for a block that is not there. It is padded to a sector.
//
// A block is a bitmap, padded to a sector, and its data. The highest bit of the
// first byte of the bitmap stands for the first sector. Where the bit is not
// set a dynamic disk reads as zeros, and a differencing one as its parent. The
// last block is stored whole even if the disk ends inside it.
//
// Behind the block table tapdisk keeps a batmap: a sector that describes it, and
// then a bit per block, set if all sectors of the block are there.
//
//	 0  8  "tdbatmap"
//	 8  8  offset of the bits
//	16  4  sectors that the bits take
//	20  4  version 0x00010002
//	24  4  complement of the sum of the bytes of the bits
//
// # The directory flavour
//
// XO can keep an image as a directory, named by an alias: a file NAME.alias.vhd
// that holds the path of the directory, relative to its own. Images name the alias
// of their parent. The directory holds
//
//	chunk-filters.json           ["brotli"], ["gzip"] or absent: how the rest is compressed
//	header, footer               the structures above
//	bat                          a bit per block, the highest of the first byte for block 0;
//	                             a byte per entry of the table is reserved for it
//	blocks/<i / 1000>/<i % 1000> bitmap and data of block i
//
// A merge of such images moves the files of blocks into the directory of the oldest
// one. Until it is over only its state file tells where they are.
package vhd
