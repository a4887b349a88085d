package vhd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/xenbackup/xenbackup/vhd"
)

var (
	errInjected = errors.New("injected failure")
	errPower    = errors.New("power is off")
	errNotEmpty = errors.New("directory is not empty")
)

// crashDir is a directory in memory that knows what was synced. Every operation
// is counted; one can fail, or be the last before the power goes.
type crashDir struct {
	now     map[string]*crashFile
	durable map[string]*crashFile
	pending [][]entryChange // what was done to directories, as far as it is not synced: each at once or not at all

	ops     int
	failAt  int // this operation fails, half done if it is a write
	crashAt int // this operation and all after it fail
	rnd     *rand.Rand
}

type crashFile struct {
	data   []byte
	synced []byte
	writes []pendingWrite
}

// entryChange is a change of one entry of a directory; nil removes it.
type entryChange struct {
	name string
	file *crashFile
}

func apply(names map[string]*crashFile, changes []entryChange) {
	for _, c := range changes {
		if c.file == nil {
			delete(names, c.name)
		} else {
			names[c.name] = c.file
		}
	}
}

type pendingWrite struct {
	off  int64
	data []byte
}

func newCrashDir(files map[string][]byte) *crashDir {
	d := &crashDir{now: map[string]*crashFile{}, durable: map[string]*crashFile{}, rnd: rand.New(rand.NewPCG(1, 1))}
	for name, data := range files {
		d.now[name] = &crashFile{data: slices.Clone(data), synced: slices.Clone(data)}
		d.durable[name] = d.now[name]
	}
	return d
}

// restart returns the directory as it is after the power came back: what was
// synced, and any part of what was not, down to single sectors.
func (d *crashDir) restart(seed uint64) *crashDir {
	rnd := rand.New(rand.NewPCG(seed, 2))
	names := maps.Clone(d.durable)
	keep := rnd.IntN(len(d.pending) + 1)
	for _, changes := range d.pending[:keep] {
		apply(names, changes)
	}
	files := make(map[string][]byte)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		f := names[name]
		data := slices.Clone(f.synced)
		for _, w := range f.writes {
			for at := 0; at < len(w.data); at += sector {
				if rnd.IntN(2) == 0 {
					part := w.data[at:min(at+sector, len(w.data))]
					data = patched(data, w.off+int64(at), part)
				}
			}
		}
		files[name] = data
	}
	return newCrashDir(files)
}

func patched(data []byte, off int64, part []byte) []byte {
	if need := off + int64(len(part)); need > int64(len(data)) {
		data = append(data, make([]byte, need-int64(len(data)))...)
	}
	copy(data[off:], part)
	return data
}

// op counts an operation.
func (d *crashDir) op() error {
	d.ops++
	if d.crashAt > 0 && d.ops >= d.crashAt {
		return errPower
	}
	if d.failAt > 0 && d.ops == d.failAt {
		return errInjected
	}
	return nil
}

func (d *crashDir) change(changes ...entryChange) {
	apply(d.now, changes)
	d.pending = append(d.pending, changes)
}

func (d *crashDir) file(name string) (*crashFile, error) {
	f, ok := d.now[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f, nil
}

func (d *crashDir) Open(_ context.Context, name string) (vhd.DirFile, error) {
	if err := d.op(); err != nil {
		return nil, err
	}
	f, err := d.file(name)
	if err != nil {
		return nil, err
	}
	return &openCrashFile{d, f}, nil
}

func (d *crashDir) OpenRW(ctx context.Context, name string) (vhd.DirFile, error) {
	return d.Open(ctx, name)
}

func (d *crashDir) ReadFile(_ context.Context, name string) ([]byte, error) {
	if err := d.op(); err != nil {
		return nil, err
	}
	f, err := d.file(name)
	if err != nil {
		return nil, err
	}
	return slices.Clone(f.data), nil
}

func (d *crashDir) WriteFile(_ context.Context, name string, data []byte) error {
	err := d.op()
	if err != nil && d.rnd.IntN(2) == 0 {
		return err // before the rename
	}
	f := &crashFile{data: slices.Clone(data), synced: slices.Clone(data)}
	d.change(entryChange{name, f})
	if err != nil {
		return err // before the sync of the directory
	}
	d.sync(path.Dir(name))
	return nil
}

// sync makes durable what was done to one directory, and no more: of a rename
// from another one, only that the new name is there. That a directory in it is
// gone is of one piece with all that was removed from that.
func (d *crashDir) sync(dir string) {
	var pending [][]entryChange
	for _, changes := range d.pending {
		var rest []entryChange
		for _, c := range changes {
			if path.Dir(c.name) == dir || (c.file == nil && d.isGone(dir, c.name)) {
				apply(d.durable, []entryChange{c})
			} else {
				rest = append(rest, c)
			}
		}
		if len(rest) > 0 {
			pending = append(pending, rest)
		}
	}
	d.pending = pending
}

// isGone tells whether the directory in dir that name is below is not there any more.
func (d *crashDir) isGone(dir, name string) bool {
	rest, below := strings.CutPrefix(name, dir+"/")
	first, _, deep := strings.Cut(rest, "/")
	if !below || !deep {
		return false
	}
	for full := range d.now {
		if strings.HasPrefix(full, dir+"/"+first+"/") {
			return false
		}
	}
	return true
}

func (d *crashDir) Rename(_ context.Context, oldname, newname string) error {
	if err := d.op(); err != nil {
		return err
	}
	f, err := d.file(oldname)
	if err != nil {
		return err
	}
	d.change(entryChange{newname, f}, entryChange{oldname, nil})
	return nil
}

func (d *crashDir) Remove(_ context.Context, name string) error {
	if err := d.op(); err != nil {
		return err
	}
	for full := range d.now {
		if strings.HasPrefix(full, name+"/") {
			return &fs.PathError{Op: "remove", Path: name, Err: errNotEmpty}
		}
	}
	if _, err := d.file(name); err != nil {
		return err
	}
	d.change(entryChange{name, nil})
	return nil
}

// MkdirAll has nothing to do: a directory is there as long as a file is in it.
func (d *crashDir) MkdirAll(context.Context, string) error { return d.op() }

func (d *crashDir) List(_ context.Context, name string) ([]string, error) {
	if err := d.op(); err != nil {
		return nil, err
	}
	if _, ok := d.now[name]; ok {
		return nil, &fs.PathError{Op: "list", Path: name, Err: syscall.ENOTDIR}
	}
	prefix := name + "/"
	if name == "." {
		prefix = ""
	}
	found := make(map[string]bool)
	for full := range d.now {
		if rest, ok := strings.CutPrefix(full, prefix); ok {
			first, _, _ := strings.Cut(rest, "/")
			found[first] = true
		}
	}
	if len(found) == 0 && name != "." {
		return nil, &fs.PathError{Op: "list", Path: name, Err: fs.ErrNotExist}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (d *crashDir) Sync(_ context.Context, name string) error {
	if err := d.op(); err != nil {
		return err
	}
	d.sync(name)
	return nil
}

type openCrashFile struct {
	dir *crashDir
	f   *crashFile
}

func (o *openCrashFile) ReadAt(p []byte, off int64) (int, error) {
	if err := o.dir.op(); err != nil {
		return 0, err
	}
	if off >= int64(len(o.f.data)) {
		return 0, io.EOF
	}
	n := copy(p, o.f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (o *openCrashFile) WriteAt(p []byte, off int64) (int, error) {
	err := o.dir.op()
	if err != nil {
		p = p[:len(p)/2/sector*sector]
	}
	if len(p) > 0 {
		o.f.data = patched(o.f.data, off, p)
		o.f.writes = append(o.f.writes, pendingWrite{off, slices.Clone(p)})
	}
	return len(p), err
}

func (o *openCrashFile) Truncate(int64) error {
	return fmt.Errorf("truncate: %w", errors.ErrUnsupported)
}

func (o *openCrashFile) Sync() error {
	if err := o.dir.op(); err != nil {
		return err
	}
	for _, w := range o.f.writes {
		o.f.synced = patched(o.f.synced, w.off, w.data)
	}
	o.f.writes = nil
	return nil
}

func (o *openCrashFile) Size() (int64, error) { return int64(len(o.f.data)), nil }
func (o *openCrashFile) Close() error         { return nil }
