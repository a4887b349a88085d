// Package md reads the members of Linux software RAID (md). Of RAID1 one leg is
// read: each of them is the whole volume, from the place that its superblock says.
// Other levels are fsys.ErrUnsupported.
//
//	member, err := md.Read(r, size)          // ErrNone, or a member
//	for _, array := range md.Assemble(members) { ... }
//
// Superblocks of version 0.90 and 1.x are read, the checksums of the latter
// verified. Facts are from the description in "RAID superblock formats" of the Linux
// RAID wiki.
//
//	1.x     A92B4EFC (little-endian) at 4096 (1.2), at 0 (1.1), or 8 KiB before the end (1.0):
//	        version at 4, features 8, UUID 16, name 32, level 72, RAID disks 92, start of the
//	        data in sectors 128, its length 136, own number 160, events 200, checksum 216,
//	        size of the list of roles 220, roles of 16 bits from 256
//	0.90    A92B4EFC in the last whole 64 KiB but one: version 0 at 4, 90 at 8, UUID at 20 and
//	        52..64, level 28, length in KiB 32, RAID disks 40, events at 156, own state at 3984
package md
