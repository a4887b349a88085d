// Package fat reads FAT12, FAT16 and FAT32 volumes over an [io.ReaderAt]:
// without a mount, without root, and without writing. A volume is an
// [io/fs.FS] and more; package fsys has the methods that all readers share.
//
//	vol, err := fat.Open(ctx, disk, size, nil)
//	data, err := fs.ReadFile(vol, "EFI/BOOT/BOOTX64.EFI")
//
// # Names
//
// A file is listed by its long name, if it has one that is whole and carries
// the checksum of the short one; else by its short name, decoded by
// [Options.CodePage], with the lower case that Windows NT notes in two flags.
// Long names are UTF-16 and come as UTF-8, as they are: nothing is composed or
// decomposed, and halves of pairs are kept (fsys.Escape makes paths of them).
//
// Look-ups ignore case, and find a file by its short name too.
//
// # What there is not
//
// FAT keeps no owners, permissions or links: files are 0644, those marked
// read-only 0444, directories 0755; Info.Attributes has what DOS knows.
// Times are local: tell the zone by [Options.Location]. They count two seconds
// for changes, a hundredth for creation, a day for access. A node is the place of
// an entry in the volume divided by 32; the root is 1. Directories have no size.
//
// # Volumes that were in use
//
// FAT has no journal. Where the volume says that it was in use, or has errors on
// record, where the backup of a damaged boot sector was needed (FAT32 has one in
// sector 6), where it is cut short, and where the two copies of its table differ
// in a part that was read, [FS.Warnings] says so. The first copy is read, or
// the one that FAT32 calls active. What FAT32 keeps about free space is not used.
//
// A chain that is too short, leads to a free or bad cluster, out of the volume
// or back into itself is an fsys.ErrCorrupt for the bytes behind that place. A
// directory that shares a cluster with another is one too.
//
// # On disk
//
// Numbers are little-endian. Facts are from Microsoft's "FAT: General Overview
// of On-Disk Format" (1.03), and were checked against volumes that mkfs.fat and
// mtools made. The boot sector, at 0:
//
//	11  2  bytes per sector: 512 to 4096
//	13  1  sectors per cluster: a power of two
//	14  2  sectors before the first table
//	16  1  tables, one behind the other
//	17  2  entries of the root, which lies behind the tables; 0 in FAT32
//	19  2  sectors of the volume; where 0, 32 4
//	22  2  sectors per table; where 0, it is FAT32, and 36 4
//	37  1  (FAT32: 65) bit 0: in use, bit 1: errors
//	38  1  (FAT32: 66) 0x29: serial number (4) and label (11) follow
//	40  2  of FAT32: bit 7: only the table in bits 0 to 3 is kept
//	44  4  of FAT32: first cluster of the root
//
// The clusters, from number 2, lie behind the root. With less than 4,085 it is
// FAT12, else FAT16, by what sectors per table do not decide. The table has 12,
// 16 or 28 bits for each cluster: the next one; 0 is free, all ones but the
// last three bits end a chain, and the number before them is a bad cluster.
// Entry 1 has two flags in its topmost bits, which are clear when the volume is
// in use, and when it has errors.
//
// An entry of a directory has 32 bytes; a first byte of 0 ends it, 0xE5 was deleted:
//
//	 0 11  name and extension, padded with spaces
//	11  1  attributes; 0x08 is the label, 0x0F a piece of a long name
//	12  1  0x08: the name is in lower case, 0x10: the extension is
//	13  5  creation: hundredths, time, date
//	18  2  date of access
//	20  2  upper half of the first cluster, in FAT32
//	22  4  change: time, date
//	26  2  first cluster, 0 of an empty file
//	28  4  size; 0 of a directory
//
// Pieces of a long name lie before it, the last first: number (0x40 in the last),
// 5 units of UTF-16, 0x0F, 0, checksum of the short name, 6 units, 0, 2 units.
//
// # Hostile volumes
//
// Counts are held against the size of the volume, chains that run in circles are
// found, and memory is bounded: [Options.CacheSize] for metadata, 12 MiB for
// where clusters are, 16 MiB for indexes of directories, and some 50 bytes for
// each directory seen. Damage is an fsys.FormatError with its place.
package fat
