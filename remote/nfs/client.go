package nfs

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// The procedures of NFSv3 used here (RFC 1813, section 3).
const (
	procNull        = 0
	procGetAttr     = 1
	procSetAttr     = 2
	procLookup      = 3
	procReadLink    = 5
	procRead        = 6
	procWrite       = 7
	procCreate      = 8
	procMkdir       = 9
	procRemove      = 12
	procRmdir       = 13
	procRename      = 14
	procLink        = 15
	procReadDir     = 16
	procReadDirPlus = 17
	procFSStat      = 18
	procFSInfo      = 19
	procPathConf    = 20
	procCommit      = 21
)

const (
	firstJukebox = 100 * time.Millisecond
	maxJukebox   = 5 * time.Second
)

// client speaks NFSv3 over a session: one method per procedure, over handles.
type client struct {
	session    *session // for all but the data of files: a lock is lost if it waits behind that
	bulk       *session // for READ, WRITE and COMMIT
	calls      *callPool
	credential []byte
	weak       bool // connections come from ordinary ports

	listingSize int // bytes of memory that one directory may take

	notExclusive atomic.Bool // the server cannot create exclusively
	namesOnly    atomic.Bool // the server cannot list attributes
}

func (c *client) call(procedure uint32) *call {
	return c.calls.get(c.credential, programNFS, versionNFS, procedure)
}

// do carries out a call that may be carried out twice, and gives the decoder of
// what follows the status, which is good as long as k is. An error may be a
// status.
func (c *client) do(ctx context.Context, k *call) (*decoder, error) {
	return c.patiently(ctx, func() (*decoder, error) {
		if err := c.session.do(ctx, k); err != nil {
			return nil, err
		}
		return c.result(k)
	})
}

// once is do for a call that must not be carried out twice: after a lostError
// nobody knows whether it was.
func (c *client) once(ctx context.Context, k *call) (*decoder, error) {
	return c.patiently(ctx, func() (*decoder, error) {
		if err := c.session.once(ctx, k, time.Time{}); err != nil {
			return nil, err
		}
		return c.result(k)
	})
}

// finish is do for a call that was started with bulk.
func (c *client) finish(ctx context.Context, k *call, st started) (*decoder, error) {
	first := true
	return c.patiently(ctx, func() (*decoder, error) {
		var err error
		if first {
			err = c.bulk.finish(ctx, k, st)
		} else {
			err = c.bulk.do(ctx, k)
		}
		first = false
		if err != nil {
			return nil, err
		}
		return c.result(k)
	})
}

// result decodes the headers of the answer and the status.
func (c *client) result(k *call) (*decoder, error) {
	d, err := k.result()
	if err != nil {
		return nil, c.explain(err)
	}
	s := status(d.uint32())
	if d.bad {
		return nil, errMalformed
	}
	if s != 0 {
		return nil, s
	}
	return d, nil
}

// patiently tries again what the server is not ready for, as while it fetches a
// file from tape or, after a restart, waits for clients of old. It gives up after
// the session's timeout.
func (c *client) patiently(ctx context.Context, try func() (*decoder, error)) (*decoder, error) {
	begun := time.Now()
	for pause := firstJukebox; ; pause = min(2*pause, maxJukebox) {
		d, err := try()
		if !isStatus(err, errJukebox) || time.Since(begun) > c.session.timeout {
			return d, err
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// explain adds what a person can do about a refusal because of the source port.
func (c *client) explain(err error) error {
	var r *rejection
	if errors.As(err, &r) && r.weak && c.weak {
		return remote.MarkError(errors.New(r.text+": "+hint), r.kind)
	}
	return err
}

// simple carries out a call of whose result nothing is of interest.
func (c *client) simple(ctx context.Context, k *call) error {
	_, err := c.do(ctx, k)
	return err
}

func (c *client) getAttr(ctx context.Context, h handle) (attr, error) {
	k := c.call(procGetAttr)
	k.e.opaque(h.bytes())
	d, err := c.do(ctx, k)
	if err != nil {
		return attr{}, err
	}
	return decodeGetAttr(d)
}

func decodeGetAttr(d *decoder) (attr, error) {
	a := d.attr()
	return a, d.end()
}

func (c *client) setAttr(ctx context.Context, h handle, a newAttr) error {
	k := c.call(procSetAttr)
	k.e.opaque(h.bytes())
	k.e.newAttr(a)
	k.e.bool(false) // whatever its change time is
	return c.simple(ctx, k)
}

// object is a file or directory found by name.
type object struct {
	h handle
	a attr
}

func (c *client) lookup(ctx context.Context, dir handle, name string) (object, error) {
	k := c.call(procLookup)
	k.e.opaque(dir.bytes())
	k.e.string(name)
	d, err := c.do(ctx, k)
	if err != nil {
		return object{}, err
	}
	o, described, err := decodeLookup(d)
	if err == nil && !described {
		o.a, err = c.getAttr(ctx, o.h)
	}
	return o, err
}

func decodeLookup(d *decoder) (o object, described bool, err error) {
	o.h = d.handle()
	o.a, described = d.postOp()
	return o, described, d.end()
}

func (c *client) readLink(ctx context.Context, h handle) (string, error) {
	k := c.call(procReadLink)
	k.max = smallReply + maxLink
	k.e.opaque(h.bytes())
	d, err := c.do(ctx, k)
	if err != nil {
		return "", err
	}
	return decodeReadLink(d)
}

const maxLink = 4096 // bytes of a symbolic link, as Linux has it

func decodeReadLink(d *decoder) (string, error) {
	d.postOp()
	target := d.opaque(maxLink)
	return string(target), d.end()
}

// space is what FSSTAT says, in bytes.
type space struct{ total, available uint64 }

func (c *client) fsStat(ctx context.Context, h handle) (space, error) {
	k := c.call(procFSStat)
	k.e.opaque(h.bytes())
	d, err := c.do(ctx, k)
	if err != nil {
		return space{}, err
	}
	return decodeFSStat(d)
}

func decodeFSStat(d *decoder) (s space, err error) {
	d.postOp()
	s.total = d.uint64()
	d.uint64() // free, of which some may be the administrator's
	s.available = d.uint64()
	return s, d.end()
}

// limits are what the server says of itself, within what we accept.
type limits struct {
	read, write   int // bytes of one READ or WRITE
	caseSensitive bool
}

// Whatever a server prefers, one call moves this much.
const (
	minIO = 4 << 10
	maxIO = 1 << 20
)

func clampIO(n uint32) int { return int(min(max(n, minIO), maxIO)) }

func (c *client) limits(ctx context.Context, root handle) (limits, error) {
	k := c.call(procFSInfo)
	k.e.opaque(root.bytes())
	d, err := c.do(ctx, k)
	if err != nil {
		return limits{}, err
	}
	l, err := decodeFSInfo(d)
	if err != nil {
		return limits{}, err
	}
	k = c.call(procPathConf)
	k.e.opaque(root.bytes())
	d, err = c.do(ctx, k)
	if err != nil {
		if _, ok := errors.AsType[status](err); ok { // it need not be able to tell
			return l, nil
		}
		return limits{}, err
	}
	l.caseSensitive, err = decodePathConf(d)
	return l, err
}

func decodeFSInfo(d *decoder) (limits, error) {
	d.postOp()
	l := limits{caseSensitive: true}
	l.read = clampIO(d.uint32())
	d.take(8) // preferred size and multiple of reads
	l.write = clampIO(d.uint32())
	return l, d.end()
}

func decodePathConf(d *decoder) (caseSensitive bool, err error) {
	d.postOp()
	d.take(8) // most links, longest name
	d.bool()  // whether longer names are refused, rather than cut
	d.bool()  // who may change the owner
	insensitive := d.bool()
	return !insensitive, d.end()
}
