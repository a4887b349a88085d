package catalog

import (
	"path"
	"strconv"
	"strings"
)

// blocksPerDir is how many blocks of a disk that is kept as a directory share a
// directory: block 4005 is blocks/4/5.
const blocksPerDir = 1000

func blockName(index uint32) string {
	return path.Join("blocks", strconv.Itoa(int(index/blocksPerDir)), strconv.Itoa(int(index%blocksPerDir)))
}

// blockOf is the inverse of blockName.
func blockOf(name string) (index uint32, ok bool) {
	rest, ok := strings.CutPrefix(name, "blocks/")
	thousand, unit, found := strings.Cut(rest, "/")
	if !ok || !found {
		return 0, false
	}
	hi, err := strconv.ParseUint(thousand, 10, 22)
	if err != nil {
		return 0, false
	}
	lo, err := strconv.ParseUint(unit, 10, 10)
	if err != nil || lo >= blocksPerDir {
		return 0, false
	}
	index = uint32(hi)*blocksPerDir + uint32(lo)
	return index, blockName(index) == name
}
