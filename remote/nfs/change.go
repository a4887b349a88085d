package nfs

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"time"
)

const (
	newFileMode = 0o644
	newDirMode  = 0o755

	createGuarded   = 1
	createExclusive = 2
)

// once-only calls: each is sent, and when the connection is lost before the
// answer came, took tells whether the call took effect; if not, it is sent again.
// The answer to a second sending may be that to the first, so that a name that is
// "already there", or "gone", has took asked too.
func (c *client) exactlyOnce(ctx context.Context, k *call, took func(context.Context) (bool, error)) (d *decoder, err error) {
	var deadline time.Time
	for sendings := 1; ; sendings++ {
		d, err = c.once(ctx, k)
		var lost *lostError
		switch {
		case err == nil:
			return d, nil
		case errors.As(err, &lost):
			if lost.silent {
				return nil, unavailable(c.session.peer, lost.err)
			}
			if deadline.IsZero() {
				deadline = time.Now().Add(c.session.timeout)
			}
		case sendings == 1 || !isStatus(err, errExist, errNoEnt, errNotEmpty):
			return nil, err
		}
		done, checkErr := took(ctx)
		switch {
		case checkErr != nil:
			return nil, checkErr
		case done:
			return nil, nil
		case lost == nil:
			return nil, err
		case !time.Now().Before(deadline):
			return nil, unavailable(c.session.peer, lost.err)
		}
	}
}

// signature is a modification time that nothing else has. What is made with it is
// known again as made by the call that asked for it, whatever became of the
// answer.
func signature() time.Time {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return time.Unix(time.Now().Unix(), int64(binary.BigEndian.Uint64(b[:])%1e9))
}

// signed tells whether name is there with the signature.
func (c *client) signed(dir handle, name string, kind fileType, sign time.Time) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		o, err := c.lookup(ctx, dir, name)
		if isStatus(err, errNoEnt) {
			return false, nil
		}
		return err == nil && o.a.kind == kind && o.a.mtime.Equal(sign), err
	}
}

// mkdir makes a directory; of callers at the same time one makes it.
func (c *client) mkdir(ctx context.Context, dir handle, name string) error {
	sign := signature()
	k := c.call(procMkdir)
	k.e.opaque(dir.bytes())
	k.e.string(name)
	k.e.newAttr(newAttr{mode: newDirMode, size: -1, touched: sign})
	_, err := c.exactlyOnce(ctx, k, c.signed(dir, name, typeDir, sign))
	return err
}

// create makes a file; of callers at the same time one makes it. The server keeps
// the verifier of an exclusive creation with the file until its attributes are
// set, so that the call may be sent again.
func (c *client) create(ctx context.Context, dir handle, name string) (object, error) {
	if c.notExclusive.Load() {
		return c.createGuarded(ctx, dir, name)
	}
	k := c.call(procCreate)
	k.e.opaque(dir.bytes())
	k.e.string(name)
	k.e.uint32(createExclusive)
	var verifier [8]byte
	_, _ = rand.Read(verifier[:]) // never fails
	k.e.fixed(verifier[:])
	d, err := c.do(ctx, k)
	if isStatus(err, errNotSupp) {
		c.notExclusive.Store(true)
		return c.createGuarded(ctx, dir, name)
	}
	if err != nil {
		return object{}, err
	}
	o, err := c.created(ctx, d, dir, name)
	if err != nil {
		return object{}, err
	}
	return o, c.setAttr(ctx, o.h, newAttr{mode: newFileMode, size: -1, now: true})
}

// createGuarded is create for servers without exclusive creation.
func (c *client) createGuarded(ctx context.Context, dir handle, name string) (object, error) {
	sign := signature()
	k := c.call(procCreate)
	k.e.opaque(dir.bytes())
	k.e.string(name)
	k.e.uint32(createGuarded)
	k.e.newAttr(newAttr{mode: newFileMode, size: 0, touched: sign})
	d, err := c.exactlyOnce(ctx, k, c.signed(dir, name, typeRegular, sign))
	if err != nil {
		return object{}, err
	}
	return c.created(ctx, d, dir, name)
}

// created is the object that a CREATE made. A server may leave out its handle.
func (c *client) created(ctx context.Context, d *decoder, dir handle, name string) (object, error) {
	if d != nil {
		o, complete, err := decodeCreate(d)
		if err != nil || complete {
			return o, err
		}
	}
	return c.lookup(ctx, dir, name)
}

func decodeCreate(d *decoder) (o object, complete bool, err error) {
	var known, described bool
	o.h, known = d.postOpHandle()
	o.a, described = d.postOp()
	d.wcc()
	return o, known && described, d.end()
}

// remove removes what is known to be o, by REMOVE or RMDIR.
func (c *client) remove(ctx context.Context, dir handle, name string, o *object) error {
	procedure := uint32(procRemove)
	if o.a.kind == typeDir {
		procedure = procRmdir
	}
	k := c.call(procedure)
	k.e.opaque(dir.bytes())
	k.e.string(name)
	_, err := c.exactlyOnce(ctx, k, func(ctx context.Context) (bool, error) {
		now, err := c.lookup(ctx, dir, name)
		if isStatus(err, errNoEnt) {
			return true, nil
		}
		return err == nil && !now.a.same(&o.a), err // somebody else's by now
	})
	return err
}

// rename moves what is known to be o.
func (c *client) rename(ctx context.Context, dir handle, name string, o *object, toDir handle, toName string) error {
	k := c.call(procRename)
	k.e.opaque(dir.bytes())
	k.e.string(name)
	k.e.opaque(toDir.bytes())
	k.e.string(toName)
	_, err := c.exactlyOnce(ctx, k, c.arrived(dir, name, o, toDir, toName))
	return err
}

// arrived tells whether o has its new name, and that alone.
func (c *client) arrived(dir handle, name string, o *object, toDir handle, toName string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		old, err := c.lookup(ctx, dir, name)
		if err == nil && old.a.same(&o.a) {
			return false, nil
		}
		if err != nil && !isStatus(err, errNoEnt) {
			return false, err
		}
		return c.isAt(o, toDir, toName)(ctx)
	}
}

// isAt tells whether a name leads to o.
func (c *client) isAt(o *object, dir handle, name string) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		now, err := c.lookup(ctx, dir, name)
		if isStatus(err, errNoEnt) {
			return false, nil
		}
		return err == nil && now.a.same(&o.a), err
	}
}

// link gives the file o one more name, which must not exist.
func (c *client) link(ctx context.Context, o *object, toDir handle, toName string) error {
	k := c.call(procLink)
	k.e.opaque(o.h.bytes())
	k.e.opaque(toDir.bytes())
	k.e.string(toName)
	_, err := c.exactlyOnce(ctx, k, c.isAt(o, toDir, toName))
	return err
}
