package ext

import (
	"fmt"
	"math/bits"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// Features that one needs not know to read or write (s_feature_compat).
const (
	compatHasJournal   = 0x4
	compatSparseSuper2 = 0x200
)

// Features that one must know to read (s_feature_incompat).
const (
	incompatCompression = 0x1
	incompatFiletype    = 0x2
	incompatRecover     = 0x4
	incompatJournalDev  = 0x8
	incompatMetaBG      = 0x10
	incompatExtents     = 0x40
	incompat64Bit       = 0x80
	incompatMMP         = 0x100
	incompatFlexBG      = 0x200
	incompatEAInode     = 0x400
	incompatDirData     = 0x1000
	incompatCsumSeed    = 0x2000
	incompatLargeDir    = 0x4000
	incompatInlineData  = 0x8000
	incompatEncrypt     = 0x10000
	incompatCasefold    = 0x20000

	incompatRead = incompatFiletype | incompatRecover | incompatMetaBG | incompatExtents | incompat64Bit | incompatMMP | incompatFlexBG |
		incompatEAInode | incompatCsumSeed | incompatLargeDir | incompatInlineData | incompatEncrypt | incompatCasefold
	incompatExt4 = incompatMetaBG | incompatExtents | incompat64Bit | incompatMMP | incompatFlexBG | incompatEAInode |
		incompatCsumSeed | incompatLargeDir | incompatInlineData | incompatEncrypt | incompatCasefold
)

// Features that one must know to write (s_feature_ro_compat). Those that are
// not listed change nothing for a reader.
const (
	roSparseSuper  = 0x1
	roHugeFile     = 0x8
	roGDTCsum      = 0x10
	roDirNlink     = 0x20
	roExtraIsize   = 0x40
	roBigalloc     = 0x200
	roMetadataCsum = 0x400

	roExt4 = roHugeFile | roGDTCsum | roDirNlink | roExtraIsize | roBigalloc | roMetadataCsum
)

// incompatNames has the names that mkfs gives to what is not read here.
var incompatNames = map[uint32]string{
	incompatCompression: "compression",
	incompatJournalDev:  "journal_dev (the journal of another volume)",
	incompatDirData:     "dirdata",
}

// checkFeatures refuses what would be misread.
func checkFeatures(incompat uint32) error {
	unknown := incompat &^ incompatRead
	if unknown == 0 {
		return nil
	}
	bit := uint32(1) << bits.TrailingZeros32(unknown)
	name := incompatNames[bit]
	if name == "" {
		name = fmt.Sprintf("incompat bit %#x", bit)
	}
	return formatError("superblock", "feature "+name, superOffset, fsys.ErrUnsupported)
}
