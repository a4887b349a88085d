package vhd_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
)

// memFile is a vhd.File in memory that knows what was synced. Every change is
// counted; from one on the power can be off.
type memFile struct {
	mu      sync.Mutex
	data    []byte
	synced  []byte
	pending []memChange // since the last sync

	ops     int
	crashAt int // this change and all after it fail
}

// memChange is a write, or with nil data a truncation.
type memChange struct {
	off  int64
	data []byte
}

func (f *memFile) Size() (int64, error) { return int64(len(f.data)), nil }
func (f *memFile) Close() error         { return nil }

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) op() error {
	f.ops++
	if f.crashAt > 0 && f.ops >= f.crashAt {
		return errPower
	}
	return nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.op()
	if err != nil && f.ops > f.crashAt {
		return 0, err
	}
	if f.crashAt > 0 { // else nobody asks for it
		f.pending = append(f.pending, memChange{off, slices.Clone(p)})
	}
	f.data = patchedFast(f.data, off, p)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// patchedFast grows a slice geometrically, unlike patched.
func patchedFast(data []byte, off int64, part []byte) []byte {
	if need := int(off) + len(part); need > len(data) {
		old := len(data)
		data = slices.Grow(data, need-old)[:need]
		clear(data[old:])
	}
	copy(data[off:], part)
	return data
}

func (f *memFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.op(); err != nil {
		return err
	}
	f.pending = append(f.pending, memChange{size, nil})
	f.data = truncated(f.data, size)
	return nil
}

func truncated(data []byte, size int64) []byte {
	if size <= int64(len(data)) {
		return data[:size:size]
	}
	return append(data, make([]byte, size-int64(len(data)))...)
}

func (f *memFile) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.op(); err != nil {
		return err
	}
	if f.crashAt > 0 {
		f.synced, f.pending = applied(f.synced, f.pending, func() bool { return true }), nil
	}
	return nil
}

// applied returns what is in a file after those sectors of changes that keep chooses.
func applied(data []byte, changes []memChange, keep func() bool) []byte {
	for _, c := range changes {
		if c.data == nil {
			if keep() {
				data = truncated(data, c.off)
			}
			continue
		}
		for at := 0; at < len(c.data); at += sector {
			if keep() {
				data = patchedFast(data, c.off+int64(at), c.data[at:min(at+sector, len(c.data))])
			}
		}
	}
	return data
}

// crash returns what the disk holds after the power was cut: what was synced,
// and any sectors of what was not.
func (f *memFile) crash(seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 3))
	share := rnd.IntN(4)
	return applied(slices.Clone(f.synced), f.pending, func() bool { return rnd.IntN(3) < share })
}

func (f *memFile) String() string { return fmt.Sprintf("file of %d bytes", len(f.data)) }
