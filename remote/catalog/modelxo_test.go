package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/remote/remotetest"
	"github.com/xenbackup/xenbackup/vhd"
)

// leave lets files lie about as Xen Orchestra does when it is killed.
func (w *model) leave(fsys remote.Filesystem) error {
	vdi := path.Join(testVMDir, "vdis", testJob, sourceVDI(w.pick(2, "disk")))
	date := "20270101T000000Z"
	names := []string{
		path.Join(vdi, ".1767000000000."+date+".vhd"),
		path.Join(vdi, "data", date+".vhd", "blocks", "0", "1"),
		path.Join(testVMDir, ".1767000000000."+date+".xva"),
		path.Join(testVMDir, date+".xva.checksum"),
		path.Join(testVMDir, "vdis", testJob, sourceVDI(7), date+".vhd"),
		path.Join(vdi, "data", date+".vhd", ".header.0123456789abcdef.tmp"),
		path.Join(vdi, ".20260101T000000Z.vhd.0123456789abcdef.tmp"),
	}
	name := names[w.pick(len(names), "leaving")]
	if err := remote.MkdirAll(w.ctx, fsys, path.Dir(name)); err != nil {
		return err
	}
	return remote.WriteFile(w.ctx, fsys, name, []byte("left"))
}

// foreignMerge deletes the oldest point and merges its disks half, as Xen Orchestra
// does: the state says less than ours, and the youngest disk goes before the oldest
// gets its name.
func (w *model) foreignMerge(fsys remote.Filesystem) error {
	if err := w.remove(fsys); err != nil {
		return err
	}
	below := &beforeReplace{Faulty: remotetest.NewFaulty(fsys), stops: w.pick(2, "before the last step") == 0}
	n := 1 + w.pick(60, "merge stops")
	err := w.session(below, func(_ *catalog.Catalog, s *catalog.Session) error {
		if !below.stops {
			below.FailFrom(n, syscall.ENODEV, remotetest.Mutating()...)
		}
		_, err := s.Merge(w.ctx, nil)
		below.Heal()
		return err
	})
	if err != nil && below.Fired() == 0 && !below.stops {
		return err
	}
	unlocked(w.fsys)
	w.story = append(w.story, fmt.Sprintf("  stopped at %d, or before the last step: %t", n, below.stops))
	clear := fsys
	if w.m.opts.Key != "" {
		if clear, err = crypt.Open(w.ctx, fsys, w.m.opts.Key); err != nil {
			return err
		}
	}
	var states []string
	err = walk(w.ctx, fsys, testVMDir, func(name string) {
		if strings.HasSuffix(name, ".merge.json") {
			states = append(states, name)
		}
	})
	for _, name := range states {
		if err == nil {
			err = w.asXO(clear, name)
		}
	}
	return err
}

// beforeReplace dies when a disk, or an alias, would replace another.
type beforeReplace struct {
	*remotetest.Faulty
	stops bool
}

func (b *beforeReplace) Rename(ctx context.Context, oldname, newname string) error {
	if b.stops && strings.HasSuffix(oldname, ".vhd") && strings.HasSuffix(newname, ".vhd") {
		b.FailFrom(1, syscall.ENODEV, remotetest.Mutating()...)
	}
	return b.Faulty.Rename(ctx, oldname, newname)
}

// asXO makes of the state of a merge what Xen Orchestra would have written, and
// perhaps goes one step further in its order.
func (w *model) asXO(fsys remote.Filesystem, name string) error {
	data, err := remote.ReadFile(w.ctx, fsys, name, 1<<20)
	if err != nil {
		return err
	}
	var state map[string]any
	if err := json.Unmarshal(data, &state); err != nil {
		return err
	}
	chain, _ := state["chain"].([]any)
	oldest, youngest := chain[0].(string), chain[len(chain)-1].(string)
	if _, err := fsys.Stat(w.ctx, path.Join(path.Dir(name), oldest)); errors.Is(err, fs.ErrNotExist) {
		return nil // ours has renamed it already, which is another order
	} else if err != nil {
		return err
	}
	delete(state, "syncedBlock")
	delete(state, "obsolete")
	if data, err = json.Marshal(state); err != nil {
		return err
	}
	if err := remote.WriteFile(w.ctx, fsys, name, data); err != nil {
		return err
	}
	if state["step"] != vhd.StepCleanup || w.pick(2, "window") == 0 {
		return nil
	}
	youngest = path.Join(path.Dir(name), youngest)
	if _, err := fsys.Stat(w.ctx, youngest); errors.Is(err, fs.ErrNotExist) {
		return nil // it was removed before
	}
	w.story = append(w.story, "  the youngest disk removed")
	target := ""
	if strings.HasSuffix(youngest, ".alias.vhd") {
		alias, err := remote.ReadFile(w.ctx, fsys, youngest, 1024)
		if err != nil {
			return err
		}
		target = path.Join(path.Dir(name), string(alias))
	}
	if err := fsys.Remove(w.ctx, youngest); err != nil || target == "" || w.pick(2, "data") == 0 {
		return err
	}
	return remote.RemoveAll(w.ctx, fsys, target)
}
