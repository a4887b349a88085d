package nfs

import (
	"context"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

const (
	listNames   = 32 << 10  // bytes of names and cookies that one answer shall hold
	listReply   = 256 << 10 // bytes of one whole answer
	listingSize = 64 << 20  // bytes of memory that one directory may take here
	entrySize   = 200       // of these, for an entry besides its name
	maxName     = 1024      // bytes; most servers have 255
	maxRestarts = 3         // of a listing whose place the server has forgotten
	lookupDepth = 16        // lookups of listed names at a time
)

// entry is one name in a directory.
type entry struct {
	name string
	h    handle
	a    attr
	// known: h and a were in the listing
	known bool
}

// page is one answer to READDIRPLUS or READDIR.
type page struct {
	entries  []entry
	cookie   uint64 // of the last one, "." and ".." included
	verifier verifier
	last     bool
}

// list gives all entries of a directory in ascending byte order of their names,
// without "." and "..". What was listed before the directory changed in between
// may be listed, but no name twice.
func (c *client) list(ctx context.Context, dir handle) ([]entry, error) {
	for restarts := 0; ; restarts++ {
		entries, err := c.listOnce(ctx, dir)
		if isStatus(err, errBadCookie) && restarts < maxRestarts {
			continue
		}
		if err != nil {
			return nil, err
		}
		slices.SortStableFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
		entries = slices.CompactFunc(entries, func(a, b entry) bool { return a.name == b.name })
		return c.complete(ctx, dir, entries)
	}
}

func (c *client) listOnce(ctx context.Context, dir handle) ([]entry, error) {
	var (
		all  []entry
		size int
		p    page
		seen = map[uint64]bool{0: true} // cookies from which a page was asked for
	)
	for {
		next, err := c.readPage(ctx, dir, p.cookie, p.verifier)
		if err != nil {
			return nil, err
		}
		all = append(all, next.entries...)
		size += entrySize // of seen, for pages of nothing but "."
		for i := range next.entries {
			size += entrySize + len(next.entries[i].name)
		}
		switch {
		case size > c.listingSize:
			return nil, violation("a listing that is too long, after %d entries", len(all))
		case next.last:
			return all, nil
		case seen[next.cookie]:
			return nil, violation("a listing that runs in circles")
		}
		seen[next.cookie] = true
		p = next
	}
}

// readPage asks for names alone where the server cannot do more. Cookies of the
// two ways differ on some servers, so a listing goes on as it began: that there is
// no READDIRPLUS shows at the first page.
func (c *client) readPage(ctx context.Context, dir handle, cookie uint64, v verifier) (page, error) {
	if !c.namesOnly.Load() {
		p, err := c.readDirPlus(ctx, dir, cookie, v)
		if !isStatus(err, errNotSupp) || cookie != 0 {
			return p, err
		}
		c.namesOnly.Store(true)
	}
	return c.readDir(ctx, dir, cookie, v)
}

func (c *client) readDir(ctx context.Context, dir handle, cookie uint64, v verifier) (page, error) {
	k := c.call(procReadDir)
	k.max = listReply + smallReply
	k.e.opaque(dir.bytes())
	k.e.uint64(cookie)
	k.e.fixed(v[:])
	k.e.uint32(listNames)
	d, err := c.do(ctx, k)
	if err != nil {
		return page{}, err
	}
	p, err := decodeReadDir(d, cookie)
	if err == nil {
		c.calls.put(k)
	}
	return p, err
}

func (c *client) readDirPlus(ctx context.Context, dir handle, cookie uint64, v verifier) (page, error) {
	k := c.call(procReadDirPlus)
	k.max = listReply + smallReply
	k.e.opaque(dir.bytes())
	k.e.uint64(cookie)
	k.e.fixed(v[:])
	k.e.uint32(listNames)
	k.e.uint32(listReply)
	d, err := c.do(ctx, k)
	if err != nil {
		return page{}, err
	}
	p, err := decodeReadDirPlus(d, cookie)
	if err == nil {
		c.calls.put(k)
	}
	return p, err
}

func decodeReadDirPlus(d *decoder, cookie uint64) (page, error) { return decodePage(d, cookie, true) }

func decodeReadDir(d *decoder, cookie uint64) (page, error) { return decodePage(d, cookie, false) }

func decodePage(d *decoder, cookie uint64, described bool) (p page, err error) {
	d.postOp()
	p.verifier, p.cookie = d.verifier(), cookie
	for d.bool() {
		d.uint64() // the number is in the attributes
		e := entry{name: string(d.opaque(maxName))}
		p.cookie = d.uint64()
		if described {
			var hasAttr, hasHandle bool
			e.a, hasAttr = d.postOp()
			e.h, hasHandle = d.postOpHandle()
			e.known = hasAttr && hasHandle
		}
		if d.bad {
			return page{}, errMalformed
		}
		if e.name == "." || e.name == ".." {
			continue
		}
		if e.name == "" || strings.ContainsAny(e.name, "/\x00") {
			return page{}, violation("a directory lists the name %q", e.name)
		}
		p.entries = append(p.entries, e)
	}
	p.last = d.bool()
	return p, d.end()
}

// complete looks up what the server has not described, as mount points of its
// own. What is gone by now is left out.
func (c *client) complete(ctx context.Context, dir handle, entries []entry) ([]entry, error) {
	lookups, bounded := errgroup.WithContext(ctx)
	lookups.SetLimit(lookupDepth)
	for i := range entries {
		e := &entries[i]
		if e.known || bounded.Err() != nil {
			continue
		}
		lookups.Go(func() error {
			o, err := c.lookup(bounded, dir, e.name)
			if isStatus(err, errNoEnt) {
				return nil
			}
			e.h, e.a, e.known = o.h, o.a, err == nil
			return err
		})
	}
	if err := lookups.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(e entry) bool { return !e.known }), context.Cause(ctx)
}

// dirEntry is an entry as package fs has it. Its Info is that of the listing.
type dirEntry struct{ info }

func newDirEntry(e *entry) *dirEntry { return &dirEntry{info{name: e.name, attr: e.a}} }

func (e *dirEntry) Type() fs.FileMode          { return e.Mode().Type() }
func (e *dirEntry) Info() (fs.FileInfo, error) { return &e.info, nil }
func (e *dirEntry) String() string             { return fs.FormatDirEntry(e) }

var _ fs.DirEntry = (*dirEntry)(nil)
