package nfs

import (
	"context"
	"io/fs"
	"slices"
	"strings"
)

const (
	listNames   = 32 << 10  // bytes of names and cookies that one answer shall hold
	listReply   = 256 << 10 // bytes of one whole answer
	listingSize = 64 << 20  // bytes of memory that one directory may take here
	entrySize   = 200       // of these, for an entry besides its name
	maxName     = 1024      // bytes; most servers have 255
	maxRestarts = 3         // of a listing whose place the server has forgotten
)

// entry is one name in a directory.
type entry struct {
	name string
	h    handle
	a    attr
	// known: h and a were in the listing
	known bool
}

// page is one answer to READDIRPLUS.
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
		next, err := c.readDirPlus(ctx, dir, p.cookie, p.verifier)
		if err != nil {
			return nil, err
		}
		all = append(all, next.entries...)
		for i := range next.entries {
			size += entrySize + len(next.entries[i].name)
		}
		switch {
		case size > c.listingSize:
			return nil, violation("a directory of more than %d entries", len(all))
		case next.last:
			return all, nil
		case seen[next.cookie]:
			return nil, violation("a listing that runs in circles")
		}
		seen[next.cookie] = true
		p = next
	}
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

func decodeReadDirPlus(d *decoder, cookie uint64) (p page, err error) {
	d.postOp()
	p.verifier, p.cookie = d.verifier(), cookie
	for d.bool() {
		d.uint64() // the number is in the attributes
		e := entry{name: string(d.opaque(maxName))}
		p.cookie = d.uint64()
		var described, named bool
		e.a, described = d.postOp()
		e.h, named = d.postOpHandle()
		e.known = described && named
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
	whole := entries[:0]
	for _, e := range entries {
		if !e.known {
			o, err := c.lookup(ctx, dir, e.name)
			if isStatus(err, errNoEnt) {
				continue
			}
			if err != nil {
				return nil, err
			}
			e.h, e.a = o.h, o.a
		}
		whole = append(whole, e)
	}
	return whole, nil
}

// dirEntry is an entry as package fs has it. Its Info is that of the listing.
type dirEntry struct{ info }

func newDirEntry(e *entry) *dirEntry { return &dirEntry{info{name: e.name, attr: e.a}} }

func (e *dirEntry) Type() fs.FileMode          { return e.Mode().Type() }
func (e *dirEntry) Info() (fs.FileInfo, error) { return &e.info, nil }
func (e *dirEntry) String() string             { return fs.FormatDirEntry(e) }

var _ fs.DirEntry = (*dirEntry)(nil)
