// Package lvm reads logical volumes of LVM2 out of the disks of a VM, without the
// device mapper: several volume groups of the same name, or the same as the
// machine's own, do not matter.
//
//	pv, err := lvm.ReadPV(r, size)          // of each disk or partition: ErrNone, or a physical volume
//	for _, group := range lvm.Assemble(pvs) {
//		for _, volume := range group.Volumes { ... }    // a disk.Source each, or an Err that says why not
//	}
//
// What is read: linear and striped volumes of any number of segments on any
// number of physical volumes; mirrors and RAID1, of which one whole leg is read;
// the origins of snapshots; metadata that is only on some of the physical volumes.
// Of a group that lacks some, the volumes that need none of these are read; the
// others are [ErrMissing]. Thin volumes, snapshots, caches, VDO and other levels of
// RAID are fsys.ErrUnsupported, each volume by itself.
//
// Metadata is hostile: it is parsed in bounded memory and depth, its checksums are
// verified, and volumes that are made of themselves are fsys.ErrCorrupt.
//
// # On disk
//
// Numbers are little-endian. Checksums are CRC-32 begun with F597A6CF, without the
// final complement. Facts were observed on volumes that LVM's own tools made.
//
//	label    in one of the first four sectors: "LABELONE", own sector at 8, checksum of 20..512
//	         at 16, place of the header at 20, "LVM2 001" at 24
//	header   UUID of 32 letters, size, then pairs of 64-bit place and length: data areas, an empty
//	         pair, metadata areas, an empty pair
//	area     checksum of 4..512, " LVM2 x[5A%r0N*>" at 4, version at 20, own place at 24, length at
//	         32, then of the text from 40: place in the area, length, checksum, flags (1: ignored)
//	text     a ring behind the first sector of the area: sections, strings, numbers and lists
package lvm
