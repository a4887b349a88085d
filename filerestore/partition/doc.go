// Package partition reads the partition tables of disks: GPT, and MBR with
// extended and logical partitions.
//
//	table, err := partition.Read(disk, size, nil)
//
// What it yields is numbered as Linux numbers it, so that partition 5 of a disk
// called xvda is what its VM calls xvda5. Nothing is written, and tables are
// taken for hostile: counts are bounded, chains of logical partitions end when
// they come back to where they were, and what lies outside of the disk is cut
// and said so.
//
// # Which table counts
//
// A disk whose first sector has a partition of type 0xEE, or is empty, is read
// as GPT: the header behind the first sector first, then the backup where the
// header or the protective partition says it is, then in the last sector. A
// disk that has grown has its backup where the end was, which does not matter.
// Each is believed only if its checksums, and those of its entries, are right.
// Sectors are of 512 bytes, or of 4096, whichever finds a header.
//
// Otherwise the first sector is an MBR if it ends in 55 AA, if all four entries
// have a possible boot flag, and if it is not the boot sector of an NTFS, exFAT or
// FAT volume, which ends in 55 AA too.
//
// # On disk
//
// Numbers are little-endian. Facts are from the UEFI specification (chapter 5,
// "GUID Partition Table Disk Layout") and from the common practice of MBRs.
//
//	MBR     446 bytes of code, 4 entries of 16 (flag, 3, type, 3, first sector, sectors), 55 AA
//	EBR     the same at the start of each logical partition: the first entry is the partition,
//	        relative to the EBR; the second is the next EBR, relative to the extended partition
//	GPT     sector 1: "EFI PART", revision, header length, checksum, 4 of zeros, own sector at 24,
//	        sector of the other header at 32, GUID at 56, sector, number, length and checksum of
//	        the entries at 72, 80, 84, 88
//	entry   type, GUID, first and last sector, attributes, name of 36 UTF-16 units
package partition
