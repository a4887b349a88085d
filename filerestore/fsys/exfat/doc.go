// Package exfat reads exFAT volumes over an [io.ReaderAt]: without a mount,
// without root, and without writing. A volume is an [io/fs.FS] and more;
// package fsys has the methods that all readers share.
//
//	vol, err := exfat.Open(ctx, disk, size, nil)
//	data, err := fs.ReadFile(vol, "DCIM/100/IMG_0001.JPG")
//
// # Names
//
// Names are UTF-16 and come as UTF-8, as they are: nothing is composed or
// decomposed, and halves of pairs are kept (fsys.Escape makes paths of them).
// Look-ups ignore case, by the table of the volume.
//
// # What there is not
//
// exFAT keeps no owners, permissions or links: files are 0644, those marked
// read-only 0444, directories 0755; Info.Attributes has what Windows knows.
// Times count two seconds, for creation and change a hundredth, and say how far
// they are from UTC; where they do not, [Options.Location] tells. A node is the
// place of an entry in the volume divided by 32; the root is 1. The numbers of
// [FS.ReadDirPage] and Walk stay good for another process; a directory that this
// one has not come by yet is searched for in the tree when its parent is asked for.
//
// # Volumes that were in use
//
// exFAT has no journal. [FS.Warnings] says where the volume was in use, or has
// failures on record, where it is cut short, where its backup boot region was
// needed, where its upper case table or allocation bitmap is damaged, and where
// files have clusters that the bitmap calls free. What a file reserves and did
// not write reads as zeros. Of volumes with two tables (TexFAT) the one called
// active is read.
//
// An entry set whose checksum is wrong is fsys.ErrChecksum, and the files behind
// it are shown. A chain that is too short, leads to a free or bad cluster, out
// of the volume or back into itself is an fsys.ErrCorrupt for the bytes behind
// that place. A directory that shares a cluster with another is one too. Entries
// of vendors are skipped.
//
// # On disk
//
// Numbers are little-endian. Facts are from Microsoft's "exFAT file system
// specification" (1.00), and were checked against volumes that exfatprogs and
// exfat-fuse made. The boot region has twelve sectors, and its backup the next twelve:
//
//	  0 11  jump, "EXFAT   "; 53 zeros follow
//	 72  8  sectors of the volume
//	 80  4  sector of the first table, 84 4: sectors per table
//	 88  4  sector of cluster 2, 92 4: clusters, 96 4: first cluster of the root
//	100  4  serial number, 104 2: revision
//	106  2  flags: 1 second table, 2 in use, 4 failures
//	108  1  sectors are of 2^n bytes, 109 1: clusters of 2^n sectors
//	110  1  tables: 1 or 2
//	sector 11: the checksum of the others, over and over: each byte added to the
//	sum rotated right by one bit, without bytes 106, 107 and 112
//
// The table has four bytes for each cluster: the next one, 0xFFFFFFFF at the
// end, 0xFFFFFFF7 of a bad one. It has nothing of files without a chain, whose
// clusters follow each other. Entries of directories have 32 bytes, and begin
// with their kind; 0 ends a directory, and without bit 7 it was deleted:
//
//	0x81  allocation bitmap: 1 1: which one, 20 4: first cluster, 24 8: length
//	0x82  upper case: 4 4: checksum, 20 4: first cluster, 24 8: length; units of
//	      UTF-16, where 0xFFFF and a number are so many that stay
//	0x83  label: 1 1: characters, 2 22
//	0x85  file: 1 1: entries that follow, 2 2: checksum of all, 4 2: attributes,
//	      8 4: created, 12 4: changed, 16 4: accessed, 20 1 and 21 1: hundredths,
//	      22, 23, 24: offsets from UTC in quarters of an hour, valid with bit 7
//	0xC0  its stream: 1 1: bit 1: no chain, 3 1: characters of the name,
//	      8 8: bytes written, 20 4: first cluster, 24 8: length
//	0xC1  a piece of its name: 15 units of UTF-16
//
// # Hostile volumes
//
// Counts are held against the size of the volume, chains that run in circles are
// found, and memory is bounded: [Options.CacheSize] for metadata, 12 MiB for
// where clusters are, 16 MiB for indexes of directories, and some 50 bytes for
// each directory seen. Damage is an fsys.FormatError with its place.
package exfat
