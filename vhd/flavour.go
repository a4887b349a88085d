package vhd

// Filter tells how the files of an image that is kept as a directory are
// compressed. ok is false for an image that is a single file.
func (m *Image) Filter() (filter ChunkFilter, ok bool) {
	d, ok := m.source.(*dirBlocks)
	if !ok {
		return FilterNone, false
	}
	return d.filter, true
}
