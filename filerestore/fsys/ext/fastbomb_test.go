package ext

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// zeros is a volume without end that has the descriptor of one group.
type zeros struct{}

func (zeros) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off == 1<<16 {
		p[8] = 2 // the block of the table of inodes
	}
	return len(p), nil
}

// TestFastCommitsOfHugeInodesAreLimited has names for many inodes of 64 KiB.
func TestFastCommitsOfHugeInodesAreLimited(t *testing.T) {
	const inodes = 1 << 15 // 2 GiB of them
	sb := &superblock{
		inodes: inodes, blocks: 1 << 17, blockSize: 1 << 16, clusterSize: 1 << 16, blocksPerGroup: 1 << 17,
		inodesPerGroup: inodes, inodeSize: 1 << 16, descSize: 32,
	}
	f := &FS{sb: sb, dev: newDevice(zeros{}, 1<<33, sb.blockSize, 1<<20, nil), fast: map[uint32]*fastNode{}}
	r := &fastReplay{f: f}
	var tags []fastTagged
	for i := range uint32(inodes) {
		v := make([]byte, 9)
		le.PutUint32(v, rootInode)
		le.PutUint32(v[4:], i+1)
		v[8] = 'x'
		tags = append(tags, fastTagged{tag: fastLink, value: v})
	}
	require.ErrorIs(t, r.apply(tags), fsys.ErrLimit)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	require.Less(t, m.HeapAlloc, uint64(128<<20))
	runtime.KeepAlive(f)
}
