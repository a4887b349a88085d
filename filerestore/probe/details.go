package probe

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf16"
)

// Each of these checks what a magic number only suggests, and finds label and UUID. They
// may read what Detect has seen to be there, and else check for nil.

func luks(b *sample, c *Content) bool {
	p := b.at(0, 208)
	if p == nil {
		return true
	}
	c.UUID = cString(p[168:208])
	if binary.BigEndian.Uint16(p[6:]) == 2 {
		c.Label = cString(p[24:72])
	}
	return true
}

// bitlocker of sticks begins like FAT, and has its GUID in place of the boot code.
func bitlocker(b *sample, _ *Content) bool {
	if b.has(magic{3, "-FVE-FS-"}) {
		return true
	}
	return b.has(magic{424, "\x3B\xD6\x67\x49\x29\x2E\xD8\x4A\x83\x99\xF6\xA3\x39\xE3\xD0\x01"})
}

// zfs has a list of names and values 16 KiB into its label.
func zfs(b *sample, _ *Content) bool {
	return bytes.Contains(b.at(16<<10, 56<<10), []byte("pool_guid"))
}

func swap(b *sample, c *Content) bool {
	if p := b.at(1024, 60); p != nil && binary.LittleEndian.Uint32(p) == 1 {
		c.UUID, c.Label = formatUUID(p[12:28]), cString(p[28:44])
	}
	return true
}

func xfs(b *sample, c *Content) bool {
	p := b.at(0, 120)
	if p == nil {
		return false
	}
	c.UUID, c.Label = formatUUID(p[32:48]), cString(p[108:120])
	return true
}

func ntfs(b *sample, c *Content) bool {
	p := b.at(0, 80)
	if p == nil || p[13] == 0 {
		return false
	}
	c.UUID = fmt.Sprintf("%016X", binary.LittleEndian.Uint64(p[72:]))
	return true
}

func exfat(b *sample, c *Content) bool { return exfatBoot(b.at(0, 112), c) }

func exfatBoot(p []byte, c *Content) bool {
	if p == nil || p[108] < 9 || p[108] > 12 {
		return false
	}
	c.UUID = serial(binary.LittleEndian.Uint32(p[100:]))
	return true
}

func btrfs(b *sample, c *Content) bool {
	p := b.at(64<<10, 4096)
	if p == nil {
		return false
	}
	c.UUID, c.Label = formatUUID(p[32:48]), cString(p[0x12B:0x12B+256])
	if n := binary.LittleEndian.Uint64(p[0x88:]); n > 1 {
		c.Title = fmt.Sprintf("btrfs on %d devices", n)
	}
	return true
}

func f2fs(b *sample, c *Content) bool {
	p := b.at(1024, 0x7C+1024)
	if p == nil {
		return false
	}
	c.UUID = formatUUID(p[0x6C:0x7C])
	var units []uint16
	for name := p[0x7C:]; len(name) >= 2 && name[0]|name[1] != 0; name = name[2:] {
		units = append(units, binary.LittleEndian.Uint16(name))
	}
	c.Label = string(utf16.Decode(units))
	return true
}

// ext tells the version as blkid does: by features that only the newer ones have.
func ext(b *sample, c *Content) bool { return extSuper(b.at(1024, 1024), c) }

func extSuper(p []byte, c *Content) bool {
	if p == nil {
		return false
	}
	le := binary.LittleEndian
	compat, incompat, roCompat := le.Uint32(p[0x5C:]), le.Uint32(p[0x60:]), le.Uint32(p[0x64:])
	switch {
	case le.Uint32(p[0x18:]) > 6: // blocks of more than 64 KiB
		return false
	case incompat&^0x16 != 0 || roCompat&^7 != 0:
		c.Type = "ext4"
	case compat&4 != 0 || incompat&8 != 0:
		c.Type = "ext3"
	default:
		c.Type = "ext2"
	}
	if incompat&8 != 0 {
		c.Kind, c.Family, c.Type, c.Title = Container, "jbd", "jbd", "the journal of another volume"
	} else {
		c.Title = c.Type
	}
	c.UUID, c.Label = formatUUID(p[0x68:0x78]), cString(p[0x78:0x88])
	return true
}

// fat has no magic number: all fields must make sense.
func fat(b *sample, c *Content) bool { return fatBoot(b.at(0, 512), c) }

func fatBoot(p []byte, c *Content) bool {
	if p == nil || p[0] != 0xEB && p[0] != 0xE9 {
		return false
	}
	le := binary.LittleEndian
	sector, cluster, reserved, fats, media := le.Uint16(p[11:]), p[13], le.Uint16(p[14:]), p[16], p[21]
	if sector < 512 || sector > 4096 || sector&(sector-1) != 0 || cluster == 0 || cluster&(cluster-1) != 0 ||
		reserved == 0 || fats < 1 || fats > 2 || media != 0xF0 && media < 0xF8 || le.Uint16(p[19:]) == 0 && le.Uint32(p[32:]) == 0 {
		return false
	}
	extended := p[36:62] // FAT12 and FAT16
	if le.Uint16(p[22:]) == 0 {
		extended = p[64:90]
		if le.Uint32(p[36:]) == 0 {
			return false
		}
	}
	if extended[2] == 0x28 || extended[2] == 0x29 {
		c.UUID = serial(le.Uint32(extended[3:]))
	}
	if extended[2] == 0x29 {
		if c.Label = strings.TrimRight(string(extended[7:18]), " "); c.Label == "NO NAME" {
			c.Label = ""
		}
	}
	return true
}

func serial(n uint32) string { return fmt.Sprintf("%04X-%04X", n>>16, n&0xFFFF) }

func formatUUID(u []byte) string {
	s := hex.EncodeToString(u)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return strings.ToValidUTF8(s, "\uFFFD")
}
