// Package filerestore gets files out of backups: out of any restore point of a
// repository, or of any disks that can be read at random, without a mount, without root
// and without the kernel's help.
//
//	s, err := filerestore.OpenBackup(ctx, catalog, point, nil)
//	if err != nil { ... }
//	defer s.Close()
//	for v := range s.All() { fmt.Println(v.ID, v.Title, v.Err) }
//	files, err := s.OpenVolume(ctx, "xvda/p1")            // an fs.FS and more
//	report, err := s.Archive(ctx, w, filerestore.TarZstd, []filerestore.Selection{{Volume: "lvm:vg0/root", Path: "etc"}}, nil)
//
// # From disks to volumes
//
// A [Session] has a tree of each [Volume] that it finds: disks, the partitions of GPT
// and MBR (package partition), software RAID of level 1 (package md), and the volumes of
// LVM2 (package lvm), also where they lie on several disks. What each holds is told by
// package probe. Names of volume groups that occur twice, or that this machine uses
// itself, do not matter.
//
// What cannot be read says why, in Volume.Err, and leaves the rest alone:
//
//	fsys.ErrEncrypted       LUKS, BitLocker
//	fsys.ErrUnsupported     file systems without a reader yet (XFS, NTFS, btrfs, ...), ZFS, APFS, dynamic
//	                        disks of Windows, RAID other than 1, thin volumes, snapshots, caches
//	ErrMissing              a logical volume with a part on a disk that is not here
//	ErrNoFiles              swap, nothing, or nothing that is known
//	fsys.ErrCorrupt         a broken table, label or superblock
//	vhd.ErrChainTooLong     a disk with more than 99 VHDs in its chain
//
// # From volumes to files
//
// [Volume.Open] gives an fsys.FS: an fs.FS, and by node for those who want all bytes of
// names, extended attributes, holes, and pages of large directories. Packages fsys/ext,
// fsys/fat and fsys/exfat read ext2, ext3 and ext4, FAT12, FAT16 and FAT32, and exFAT; to
// add a reader, add a line to [Readers], or give it in Options.Readers. A volume that was
// in use is shown as its system would show it after a crash, also where its journal is on
// another disk of the VM; fsys.FS.Warnings says where the reader cannot do that.
//
// # Out
//
// [Session.Archive] writes a selection as zip, tar, tar.gz or tar.zst, [Session.Extract]
// into a directory. Both stream: memory does not depend on the size of what is restored,
// nor, but for some bytes per directory, on the number of files. What could not be read
// is in the [Report], and in a file at the end of the archive.
//
// # Hostile disks
//
// A disk belongs to the tenant, and may be made to harm. Tables and trees are bounded
// before memory is spent on them, chains end where they come back, and readers take
// damage for an error. A reader that panics all the same fails that call alone. Names that
// would lead out of an archive or a directory are escaped; symbolic links are never
// followed out of a volume, and are written last; [Limits] bound what comes out.
//
// # Memory
//
// Options.CacheSize for all disks together (32 MiB), Options.MetadataSize for each volume
// that is open (16 MiB), 2 MiB for an archive, and what its compression takes, see
// xva.NewCompressor.
package filerestore
