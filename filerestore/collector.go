package filerestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore/fsys"
)

// Limits bound what comes out. Where one is exceeded, what came before is complete, the
// report says so, and the error is fsys.ErrLimit. The same selection ends at the same
// place each time. Zero is no limit, but for Depth.
type Limits struct {
	Bytes   int64 // of content; holes count where the format has none
	Entries int64
	Depth   int // of directories below the selected one; 4,096 by default
}

// Progress is told of while something is restored.
type Progress struct {
	Entries int64  // begun so far
	Bytes   int64  // of content
	Name    string // of the entry at hand, as it is in the archive
}

// Audit says who was given what: a file of any type, before it goes out.
type Audit struct {
	Volume string // ID
	Path   string // as fs.FS has it
	Info   fsys.Info
}

// collector walks selections, and passes what it comes to to a sink. Memory is bounded: by
// the walk, see fsys.Walk, and by maxHardLinks.
type collector struct {
	ctx      context.Context //nolint:containedctx // lives as long as one call of Archive or Extract
	sink     sink
	limits   Limits
	progress func(Progress)
	audit    func(Audit) error
	confirm  func(context.Context) error // that all was there while it was read

	report  Report
	now     Progress
	copier  *copier
	links   map[hardKey]*hardLink
	several bool // volumes

	symlinks bool // it is their turn
	seen     bool // there are any
}

// maxHardLinks is how many files with names still to come are remembered; of others, each
// name gets its own copy.
const maxHardLinks = 1 << 17

type hardKey struct {
	volume *Volume
	node   fsys.NodeID
}

type hardLink struct {
	name string
	left uint32 // names still to come
}

// run passes all to the sink: directories and files in the order of the volume, and at the
// end, when nothing can come to lie behind one, symbolic links.
func (c *collector) run(list []picked) error {
	c.links, c.several = map[hardKey]*hardLink{}, severalVolumes(list)
	c.copier = newCopier(c.ctx, c.copied)
	warned := map[*Volume]bool{}
	for _, p := range list {
		if !warned[p.volume] {
			warned[p.volume] = true
			for _, w := range append(p.volume.Warnings, p.files.Warnings()...) {
				c.report.Warnings = append(c.report.Warnings, VolumeWarning{p.volume.ID, w})
			}
		}
	}
	err := c.turn(list)
	if err == nil && c.seen {
		c.symlinks = true
		err = c.turn(list)
	}
	if err != nil {
		c.report.skip("", "", fmt.Errorf("all that follows is missing: %w", err))
	}
	if err == nil || errors.Is(err, fsys.ErrLimit) {
		if err := c.confirm(c.ctx); err != nil {
			c.report.skip("", "", fmt.Errorf("nothing proves that the backup was there to the end: %w", err))
			return err
		}
	}
	if err != nil && !errors.Is(err, fsys.ErrLimit) {
		return err
	}
	return errors.Join(err, c.sink.finish(&c.report))
}

func (c *collector) turn(list []picked) (err error) {
	defer guard(&err)
	for i := range list {
		if err := c.selection(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// selection passes one on. Its path is in the names, its parents are not entries.
func (c *collector) selection(p *picked) error {
	w := &trail{c: c, p: p}
	if c.several {
		w.names = append(w.names, volumeName(p.volume.ID))
	}
	for _, raw := range p.raw {
		w.names, w.paths = append(w.names, c.sink.name(raw)), append(w.paths, fsys.Escape(raw))
	}
	w.baseNames, w.basePaths = len(w.names), len(w.paths)
	top := w.entry(0, "", p.info)
	if top.name != "" {
		if err := c.entry(top); err != nil || !p.info.Mode.IsDir() {
			return err
		}
	}
	for item, err := range fsys.Walk(c.ctx, p.files, p.node, &fsys.WalkOptions{MaxDepth: c.limits.Depth}) {
		if errors.Is(err, fsys.ErrLimit) || context.Cause(c.ctx) != nil {
			return cmp.Or(context.Cause(c.ctx), err)
		}
		if err := w.item(item, err); err != nil {
			return err
		}
	}
	return nil
}

// entry passes one on, if it is its turn.
func (c *collector) entry(e *entry) error {
	isLink := e.info.Mode&fs.ModeType == fs.ModeSymlink
	c.seen = c.seen || isLink
	if isLink != c.symlinks {
		return nil
	}
	if c.now.Entries++; c.limits.Entries > 0 && c.now.Entries > c.limits.Entries {
		return fmt.Errorf("filerestore: more than %d entries: %w", c.limits.Entries, fsys.ErrLimit)
	}
	c.now.Name = e.name
	if c.progress != nil {
		c.progress(c.now)
	}
	if c.audit != nil {
		if err := c.audit(Audit{e.volume.ID, e.path, e.info}); err != nil {
			return c.skipped(e, skip(err))
		}
	}
	return c.skipped(e, c.pass(e))
}

// skipped puts down what concerns one entry, and returns what is the end of all.
func (c *collector) skipped(e *entry, err error) error {
	if ended := context.Cause(c.ctx); err != nil && ended != nil {
		return ended // the entry is not to blame
	}
	if s, ok := errors.AsType[*skipError](err); ok {
		c.report.skip(e.volume.ID, e.path, s.err)
		if !s.kept {
			return nil
		}
		err = nil
	}
	if err == nil {
		c.count(e)
	}
	return err
}

func (c *collector) count(e *entry) {
	switch {
	case e.info.Mode.IsRegular():
		c.report.Files++
	case e.info.Mode.IsDir():
		c.report.Directories++
	default:
		c.report.Others++
	}
}

func (c *collector) pass(e *entry) error {
	var err error
	if e.xattrs, err = e.files.Xattrs(e.info.Node); err != nil {
		c.report.skip(e.volume.ID, e.path, fmt.Errorf("its extended attributes: %w", err))
	}
	switch e.info.Mode & fs.ModeType {
	case 0:
		return c.file(e)
	case fs.ModeDir:
		return c.sink.directory(e)
	case fs.ModeSymlink:
		if e.target, err = e.files.ReadLinkNode(e.info.Node); err != nil {
			return skip(err)
		}
		if e.target == "" || strings.IndexByte(e.target, 0) >= 0 {
			return skip(fmt.Errorf("%w: target %q", fsys.ErrCorrupt, e.target))
		}
		return c.sink.symlink(e)
	case fs.ModeSocket:
		return skip(errSocket)
	}
	return c.sink.special(e)
}

func (c *collector) file(e *entry) error {
	key := hardKey{e.volume, e.info.Node}
	if first := c.links[key]; first != nil {
		if first.left--; first.left == 0 {
			delete(c.links, key)
		}
		e.target = first.name
		if err := c.sink.link(e); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	f, err := e.files.OpenNode(e.info.Node)
	if err != nil {
		return skip(err)
	}
	list := []span{{0, f.Size()}}
	if f.Size() == 0 {
		list = nil
	} else if c.sink.keepsHoles() {
		if list, err = spans(c.ctx, f); err != nil {
			return skip(err)
		}
	}
	if n := total(list); c.limits.Bytes > 0 && n > c.limits.Bytes-c.report.Bytes {
		return fmt.Errorf("filerestore: %s: more than %d bytes: %w", e.name, c.limits.Bytes, fsys.ErrLimit)
	}
	err = c.sink.file(e, f, list, c.copier)
	if s, ok := errors.AsType[*skipError](err); e.info.Links > 1 && (err == nil || ok && s.kept) && c.links[key] == nil && len(c.links) < maxHardLinks {
		c.links[key] = &hardLink{e.name, min(e.info.Links, math.MaxInt32) - 1}
	}
	return err
}

// copied is told of each piece of content.
func (c *collector) copied(n int64) {
	c.report.Bytes += n
	c.now.Bytes += n
	if c.progress != nil {
		c.progress(c.now)
	}
}
