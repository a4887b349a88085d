package md

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// Array is what members are together.
type Array struct {
	UUID, Name string
	Level      string // "raid1", "raid5", ..., "linear"
	Size       int64  // of the content, in bytes; 0 with an Err
	Members    []*Member
	Err        error // why it cannot be read: fsys.ErrUnsupported, or fsys.ErrCorrupt
	Warnings   []fsys.Warning
}

// Assemble puts members together by UUID, in the order of their first member.
func Assemble(members []*Member) []*Array {
	var arrays []*Array
	known := map[string]*Array{}
	for _, m := range members {
		a := known[m.Array]
		if a == nil {
			a = &Array{UUID: m.Array, Name: m.Name, Level: levelName(m.Level)}
			known[m.Array] = a
			arrays = append(arrays, a)
		}
		a.Members = append(a.Members, m)
	}
	for _, a := range arrays {
		a.choose()
	}
	return arrays
}

// choose puts the newest whole leg first.
func (a *Array) choose() {
	slices.SortStableFunc(a.Members, func(x, y *Member) int {
		return cmp.Or(cmp.Compare(truth(y.InSync), truth(x.InSync)), cmp.Compare(y.Events, x.Events))
	})
	best := a.Members[0]
	switch {
	case a.Level != "raid1":
		a.Err = fmt.Errorf("md: arrays of level %s: %w", a.Level, fsys.ErrUnsupported)
	case !best.InSync:
		a.Err = fmt.Errorf("md: no disk of the array is in sync: %w", fsys.ErrCorrupt)
	default:
		a.Size = best.Size
	}
	for _, m := range a.Members[1:] {
		if a.Err == nil && (!m.InSync || m.Events != best.Events) {
			a.Warnings = append(a.Warnings, fsys.Warning{Concern: fsys.Skipped, Text: "a disk of the array was out of date or spare, and is not read"})
		}
	}
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// ReadAt reads from one leg.
func (a *Array) ReadAt(p []byte, off int64) (int, error) {
	if a.Err != nil {
		return 0, a.Err
	}
	m := a.Members[0]
	return io.NewSectionReader(m.Source, m.Off, a.Size).ReadAt(p, off)
}

func levelName(level int32) string {
	switch level {
	case -1:
		return "linear"
	case -4:
		return "multipath"
	}
	return fmt.Sprintf("raid%d", level)
}
