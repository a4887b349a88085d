package ext

import "sort"

// overlay says which blocks of the volume are to be read from the journal. It
// refers to the journal's blocks, and holds no copies: 24 bytes per block. It
// is sorted by home; nil is no overlay.
type overlay []relocated

type relocated struct {
	home    uint64 // block of the volume
	journal uint64 // block that has its content, of the device of the journal
	escaped bool   // its first four bytes were the journal's magic
}

// patch puts what the journal has into p, which was read at off.
func (o overlay) patch(d *device, p []byte, off int64) error {
	if len(o) == 0 || len(p) == 0 {
		return nil
	}
	bs := d.blockSize
	first, end := uint64(off/bs), uint64((off+int64(len(p))+bs-1)/bs)
	for i := sort.Search(len(o), func(i int) bool { return o[i].home >= first }); i < len(o) && o[i].home < end; i++ {
		home := int64(o[i].home) * bs
		from, to := max(off, home), min(off+int64(len(p)), home+bs)
		part := p[from-off : to-off]
		log := d
		if d.log != nil {
			log = d.log
		}
		if err := readFull(log.r, log.size, part, int64(o[i].journal)*bs+from-home); err != nil {
			return err
		}
		if o[i].escaped && from-home < 4 {
			copy(part, journalMagic[from-home:])
		}
	}
	return nil
}
