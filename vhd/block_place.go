package vhd

// BlockPlace tells where in the file block i is: its bitmap begins at bitmap, its
// data at data, and ends [Image.BlockSize] later. ok is false for a block that the
// file does not hold or whose place is damaged, and for a disk that is fixed or
// kept as a directory.
func (m *Image) BlockPlace(i int) (bitmap, data int64, ok bool) {
	if m.r == nil || m.Type() == Fixed || !m.HasBlock(i) {
		return 0, 0, false
	}
	if _, bad := m.bad[uint32(i)]; bad {
		return 0, 0, false
	}
	bitmap = int64(m.entry(i)) * sectorSize
	return bitmap, bitmap + m.bitmapLen, true
}
