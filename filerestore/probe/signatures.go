package probe

// signatures in the order in which they are looked for: what holds volumes, what is
// encrypted, then file systems. ZFS, which wipes where others have their numbers, is after
// them, and FAT, which has no number, is last.
var signatures = []signature{
	{Content{Kind: Encrypted, Family: "luks", Type: "crypto_LUKS", Title: "LUKS encryption"}, []magic{{0, "LUKS\xBA\xBE"}}, luks},
	{Content{Kind: Encrypted, Family: "bitlocker", Type: "BitLocker", Title: "BitLocker encryption"}, []magic{{3, "-FVE-FS-"}, {3, "MSWIN4.1"}}, bitlocker},
	{Content{Kind: Container, Family: "ldm", Type: "ldm", Title: "a dynamic disk of Windows (LDM)"}, []magic{{6 * 512, "PRIVHEAD"}}, nil},
	{Content{Kind: Container, Family: "vmfs", Type: "VMFS_volume_member", Title: "VMFS"}, []magic{{1 << 20, "\x0D\xD0\x01\xC0"}}, nil},
	{Content{Kind: Container, Family: "bcache", Type: "bcache", Title: "a part of a bcache"}, []magic{{4096 + 24, "\xC6\x85\x73\xF6\x4E\x1A\x45\xCA\x82\x65\xF5\x7F\x48\xBA\x6D\x81"}}, nil},
	{Content{Kind: Container, Family: "vdo", Type: "vdo", Title: "a VDO volume"}, []magic{{0, "dmvdo001"}}, nil},
	{Content{Kind: Container, Family: "storage-spaces", Type: "storage_spaces", Title: "a part of a storage pool of Windows"}, []magic{{4096, "SPACEDB "}, {0, "SPACEDB "}}, nil},
	{Content{Kind: Swap, Family: "swap", Type: "swap", Title: "swap space"}, []magic{{4096 - 10, "SWAPSPACE2"}, {8192 - 10, "SWAPSPACE2"}, {16384 - 10, "SWAPSPACE2"}, {65536 - 10, "SWAPSPACE2"}, {4096 - 10, "SWAP-SPACE"}}, swap},

	{Content{Kind: Files, Family: "xfs", Type: "xfs", Title: "XFS"}, []magic{{0, "XFSB"}}, xfs},
	{Content{Kind: Files, Family: "ntfs", Type: "ntfs", Title: "NTFS"}, []magic{{3, "NTFS    "}}, ntfs},
	{Content{Kind: Files, Family: "exfat", Type: "exfat", Title: "exFAT"}, []magic{{3, "EXFAT   "}}, exfat},
	{Content{Kind: Files, Family: "refs", Type: "ReFS", Title: "ReFS"}, []magic{{3, "ReFS\x00\x00\x00\x00"}}, nil},
	{Content{Kind: Files, Family: "btrfs", Type: "btrfs", Title: "btrfs"}, []magic{{64<<10 + 0x40, "_BHRfS_M"}}, btrfs},
	{Content{Kind: Files, Family: "f2fs", Type: "f2fs", Title: "F2FS"}, []magic{{1024, "\x10\x20\xF5\xF2"}}, f2fs},
	{Content{Kind: Container, Family: "apfs", Type: "apfs", Title: "APFS"}, []magic{{32, "NXSB"}}, nil},
	{Content{Kind: Files, Family: "hfs", Type: "hfsplus", Title: "HFS+"}, []magic{{1024, "H+\x00\x04"}, {1024, "HX\x00\x05"}}, nil},
	{Content{Kind: Files, Family: "ext", Title: "ext"}, []magic{{1024 + 0x38, "\x53\xEF"}}, ext},
	{Content{Kind: Files, Family: "ufs", Type: "ufs", Title: "UFS"}, []magic{{8192 + 1372, "\x54\x19\x01\x00"}, {64<<10 + 1372, "\x19\x01\x54\x19"}}, nil},
	{Content{Kind: Files, Family: "squashfs", Type: "squashfs", Title: "SquashFS"}, []magic{{0, "hsqs"}}, nil},
	{Content{Kind: Files, Family: "erofs", Type: "erofs", Title: "EROFS"}, []magic{{1024, "\xE2\xE1\xF5\xE0"}}, nil},
	{Content{Kind: Files, Family: "iso9660", Type: "iso9660", Title: "ISO 9660"}, []magic{{32<<10 + 1, "CD001"}}, nil},
	{Content{Kind: Files, Family: "reiserfs", Type: "reiserfs", Title: "ReiserFS"}, []magic{{64<<10 + 52, "ReIsEr"}}, nil},
	{Content{Kind: Files, Family: "jfs", Type: "jfs", Title: "JFS"}, []magic{{32 << 10, "JFS1"}}, nil},
	{Content{Kind: Container, Family: "zfs", Type: "zfs_member", Title: "a part of a ZFS pool"}, []magic{{16 << 10, "\x01"}}, zfs},
	{Content{Kind: Files, Family: "fat", Type: "vfat", Title: "FAT"}, []magic{{510, "\x55\xAA"}, {0, "\xEB"}, {0, "\xE9"}}, fat},
}
