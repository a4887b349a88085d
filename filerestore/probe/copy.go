package probe

import "encoding/binary"

// copy looks for the copies of what begins a volume, where mkfs puts them: it is for
// volumes whose first sectors were overwritten.
func (b *sample) copy() (Content, bool) {
	for shift := range 7 { // of ext, in group 1, by the size of a block
		size := int64(1024) << shift
		off := 8 * size * size // blocks as a block has bits
		if shift == 0 {
			off += size // where block 0 is no part of a group
		}
		c := Content{Kind: Files, Family: "ext"}
		p := b.at(off, 1024)
		if p != nil && string(p[0x38:0x3A]) == "\x53\xEF" && binary.LittleEndian.Uint16(p[0x5A:]) == 1 &&
			binary.LittleEndian.Uint32(p[0x18:]) == uint32(shift) && extSuper(p, &c) {
			return c, true
		}
	}
	for shift := 9; shift <= 12; shift++ {
		sector := int64(1) << shift
		c := Content{Kind: Files, Family: "fat", Type: "vfat", Title: "FAT"}
		p := b.at(6*sector, 512)
		if p != nil && string(p[82:90]) == "FAT32   " && int64(binary.LittleEndian.Uint16(p[11:])) == sector && fatBoot(p, &c) {
			return c, true
		}
		c = Content{Kind: Files, Family: "exfat", Type: "exfat", Title: "exFAT"}
		p = b.at(12*sector, 512)
		if p != nil && string(p[3:11]) == "EXFAT   " && int(p[108]) == shift && exfatBoot(p, &c) {
			return c, true
		}
	}
	return Content{}, false
}
