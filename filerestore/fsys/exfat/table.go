package exfat

import (
	"fmt"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
	"github.com/xenbackup/xenbackup/filerestore/fsys/internal/clusters"
)

// table is the file allocation table: for each cluster the one behind it. It
// has nothing true of files whose clusters follow each other.
type table struct {
	dev *clusters.Device
	off int64
}

func (t *table) next(w *clusters.Window, c uint32) (uint32, error) {
	b, err := t.dev.View(w, t.off+int64(c)*4, 4)
	if err != nil {
		return 0, err
	}
	switch e := le.Uint32(b); e {
	case 0xFFFFFFFF:
		return 0, nil
	case 0xFFFFFFF7:
		return 0, t.corrupt(c, "is marked as bad")
	case 0:
		return 0, t.corrupt(c, "is free")
	case 1:
		return 0, t.corrupt(c, "is reserved")
	default:
		return e, nil
	}
}

func (t *table) corrupt(c uint32, what string) error {
	return t.dev.Error(fmt.Sprintf("chain: cluster %d", c), -1, fmt.Errorf("%w: it %s", fsys.ErrCorrupt, what))
}
