package filerestore

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// Selection is what is to be restored: a file of any type, or a directory with all that is
// in it.
type Selection struct {
	Volume string // as [Session.Volume] takes it; empty is the only one that has files
	Path   string // as fs.FS has it, see fsys.Escape; "." or empty is the whole volume. A link at its end is not followed
}

// picked is a selection that was found.
type picked struct {
	volume *Volume
	files  fsys.FS
	path   string
	node   fsys.NodeID
	info   fsys.Info
	raw    []string // elements of the path
}

// pick finds selections, and leaves out what is in another one.
func (s *Session) pick(ctx context.Context, list []Selection) ([]picked, error) {
	var found []picked
	for _, sel := range list {
		v, err := s.Volume(sel.Volume)
		if err != nil {
			return nil, err
		}
		files, err := v.Open(ctx)
		if err != nil {
			return nil, err
		}
		p := picked{volume: v, files: files, path: sel.Path}
		if err := p.locate(); err != nil {
			return nil, fmt.Errorf("filerestore: %s: %w", v.ID, err)
		}
		found = append(found, p)
	}
	var rest []picked
	for i, p := range found {
		covered := false
		for j, other := range found {
			covered = covered || other.covers(p) && (!p.covers(other) || j < i)
		}
		if !covered {
			rest = append(rest, p)
		}
	}
	return rest, nil
}

func (p *picked) locate() error {
	if p.path == "" {
		p.path = "."
	}
	at, ok := p.files.(interface {
		NodeAt(name string, follow bool) (fsys.NodeID, error)
	})
	if !ok {
		return fmt.Errorf("%w: the reader has no paths", fsys.ErrUnsupported)
	}
	var err error
	if p.node, err = at.NodeAt(p.path, false); err != nil {
		return err
	}
	if p.path != "." {
		for element := range strings.SplitSeq(p.path, "/") {
			raw, ok := fsys.Unescape(element)
			if !ok {
				return &fs.PathError{Op: "open", Path: p.path, Err: fs.ErrNotExist}
			}
			p.raw = append(p.raw, raw)
		}
	}
	p.info, err = p.files.StatNode(p.node)
	return err
}

func (p *picked) covers(other picked) bool {
	return p.volume == other.volume && (p.path == "." || p.path == other.path || strings.HasPrefix(other.path, p.path+"/"))
}

// severalVolumes tells that names need the volume before them.
func severalVolumes(list []picked) bool {
	for _, p := range list {
		if p.volume != list[0].volume {
			return true
		}
	}
	return false
}
