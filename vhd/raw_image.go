package vhd

import "io"

// OpenRaw returns a raw disk of size bytes as an [Image] of type [Fixed] without
// a uuid: what a differencing image whose parent uuid is zero is based on. The
// caller keeps r open while the image is in use. Of opts only the name counts.
func OpenRaw(r io.ReaderAt, size int64, opts *OpenOptions) *Image {
	if opts == nil {
		opts = &OpenOptions{}
	}
	size = max(0, size)
	m := &Image{r: r, name: opts.Name, fileSize: size, dataEnd: size}
	m.footer = Footer{Type: Fixed, DataOffset: noOffset, OriginalSize: size, CurrentSize: size}
	m.setFlat()
	return m
}
