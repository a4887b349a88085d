// Package ext reads ext2, ext3 and ext4 volumes over an [io.ReaderAt]: without
// a mount, without root, and without writing. A volume is an [io/fs.FS] and
// more; package fsys has the methods that all readers share.
//
//	vol, err := ext.Open(ctx, disk, size, nil)
//	data, err := fs.ReadFile(vol, "etc/hostname")
//
// # Volumes that were in use
//
// The disk of a running machine, copied at one moment, is as it would be after
// a power cut: the newest changes are in the journal, and not yet at home. Open
// replays the journal in memory, so that the volume shows what Linux would show
// after recovery. What is kept are references to blocks of the journal, 24
// bytes each, not copies; nothing is written. The log ends at the first
// transaction that is not complete. Checksums of all three versions are
// verified, revoked blocks are left alone, and escaped ones are put right.
//
// [FS.Warnings] says what was done. Where changes may be missing it is a
// warning of concern fsys.Stale, never silence: a damaged journal, one with unknown
// features, and one on another device that [Options.Journal] does not find.
//
// Fast commits, small changes behind the last transaction, are replayed as
// well: what they say of inodes, names and ranges of blocks lies over the
// volume in memory. Of directories they keep nothing but names. Linux makes up
// the rest when it recovers: directories change at that time, and new ones have
// one link. Here they keep the times and links that they had.
//
// Deleted files that were still open are not shown, as after recovery.
//
// Where the superblock is damaged, its copy in group 1, 3, 5, 7 or 9 is used, in
// groups of the size that mkfs gives them; damaged group descriptors have copies
// too. [FS.Warnings] tells, and also that there are copies of several file
// systems, as older ones leave them: the one made last is shown then. Copies do
// not say whether there is something to replay: then the journal does.
//
// # What is read
//
// Block maps and extents, inline data, hash trees, bigalloc, meta_bg, flex_bg,
// sparse_super and sparse_super2, 64bit, large_dir, huge files, ea_inode,
// attributes in the inode and in blocks, ACLs, devices of both encodings, fast
// and slow links, times with nanoseconds from 1901 to 2446, blocks of 1 to 64
// KiB. Unknown features that matter to writers alone are read past.
//
// Checksums of the superblock, group descriptors (CRC-16 and CRC-32C), inodes,
// extent blocks, directory blocks, attribute blocks and attribute inodes are
// verified where the volume has them: what does not match is
// fsys.ErrChecksum, for the file or directory at hand. There are none for the
// content of files.
//
// Refused with fsys.ErrUnsupported and the name of the feature: compression,
// dirdata, devices that hold the journal of another volume, and features that
// are not known. Encrypted files and directories are fsys.ErrEncrypted, beside
// others that can be read. Names in directories that fold case are compared
// byte by byte. The content of files protected by verity is read, and not
// compared with its hashes.
//
// # On disk
//
// Numbers are little-endian, but big-endian in the journal. Facts are from the
// description of the format in the documentation of Linux ("ext4 Data
// Structures and Algorithms"), and were checked against volumes that mke2fs,
// debugfs and Linux made.
//
//	superblock   at byte 1024, 1024 long: geometry, features, UUID, checksum at 0x3FC
//	group        blocks_per_group blocks; its descriptor, of 32 or 64 bytes, is in a table
//	             behind the superblock, or with meta_bg in the first group of each meta group
//	inode        number n is the (n-1) mod inodes_per_group of group (n-1) / inodes_per_group;
//	             mode at 0x00, size 0x04 and 0x6C, flags 0x20, map 0x28 (60 bytes), then from
//	             0x80 extra fields: sub-second times, checksum, and attributes behind them
//	extents      header of 12 bytes (magic 0xF30A), entries of 12: first block, length, place;
//	             lengths above 32768 are reserved blocks, which read as zeros
//	block map    12 blocks, then blocks of pointers, two and three levels deep
//	directory    records: inode (4), length (2), length of name (1), type (1), name; the nodes
//	             of a hash tree look like empty records, and are not needed to read it
//	inline data  60 bytes in place of the map, the rest in the attribute system.data
//	attributes   entries: length of name, prefix, place and size of the value, hash, name
//	journal      blocks with magic 0xC03B3998: descriptors, whose tags say where the blocks
//	             behind them belong, revocations, and a commit that ends each transaction
//	fast commit  in the last blocks of the journal, little-endian: tag (2), length (2), value; a
//	             head begins the first one, and a tail with a CRC-32C ends each
//
// # Hostile volumes
//
// Counts are checked before they are used, blocks lie inside the volume, trees
// have at most their legal depth, and memory is bounded: [Options.CacheSize]
// for metadata, 16 MiB for the indexes of large directories, and some 100 MiB
// for the worst of journals; one of mkfs, full, takes 10, and fast commits as
// much as their area, of 1 MiB at most. Damage is an fsys.FormatError with the structure and its place.
package ext
