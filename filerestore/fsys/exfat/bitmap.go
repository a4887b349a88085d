package exfat

import (
	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/clusters"
	"github.com/xenbackup/xenbackup/vhd/disk"
)

// bitmap says which clusters are in use. It is not needed to read files, and
// shows those that lost their clusters.
type bitmap struct{ src disk.Source }

// maxCheck bounds what is looked at of a file, in clusters.
const maxCheck = 1 << 20

// loadBitmap opens the bitmap that an entry of the root describes.
func (f *FS) loadBitmap(entry []byte) error {
	if entry != nil {
		o := systemObject(entry)
		src, err := f.heap.Content("allocation bitmap", o)
		if err != nil && !damage(err) {
			return err
		}
		if err == nil && o.Size >= (int64(f.boot.clusters)+7)/8 {
			f.bitmap = &bitmap{src}
			return nil
		}
	}
	f.warnings.Add(fsys.Damaged, "the allocation bitmap is missing or damaged; what it says is not compared with the files")
	return nil
}

// allocated tells that n clusters are in use. What cannot be read is.
func (b *bitmap) allocated(first uint32, n int64) bool {
	from, to := int64(first-2), int64(first-2)+min(n, maxCheck)
	if from >= to {
		return true
	}
	p := make([]byte, (to+7)/8-from/8)
	if read, _ := b.src.ReadAt(p, from/8); read < len(p) {
		return true
	}
	for i := from; i < to; i++ {
		if i%8 == 0 && i+8 <= to && p[i/8-from/8] == 0xFF {
			i += 7
			continue
		}
		if p[i/8-from/8]>>(i%8)&1 == 0 {
			return false
		}
	}
	return true
}

// checkClusters warns of a file whose clusters the bitmap calls free: of one
// with a chain the first is looked at.
func (f *FS) checkClusters(o *clusters.Object) {
	if f.bitmap == nil || o.Valid == 0 {
		return
	}
	n := int64(1)
	if o.Contiguous {
		n = f.heap.Clusters(o.Size)
	}
	if !f.bitmap.allocated(o.First, n) {
		f.warnings.Add(fsys.Damaged, "there are files with clusters that the allocation bitmap calls free; they may hold other content")
	}
}
