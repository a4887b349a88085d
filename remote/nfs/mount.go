package nfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
)

const (
	procMount = 1 // MOUNTPROC3_MNT

	maxFlavors = 64
)

// mounter finds a server's ports and asks its MOUNT service for the handle of an
// export (RFC 1813, appendix I).
type mounter struct {
	dialer     *dialer
	calls      *callPool
	credential []byte
	weak       bool       // some connection came from an ordinary port
	mapped     bool       // the NFS port is what the portmapper said
	mapping    sync.Mutex // held to ask it once more
}

// with opens a connection for a few calls.
func (m *mounter) with(ctx context.Context, port int, use func(*conn) error) error {
	nc, err := m.dialer.dial(ctx, port)
	if err != nil {
		return err
	}
	m.weak = m.weak || unprivileged(nc)
	address := m.dialer.address(port)
	c := newConn(nc, address, m.dialer.opts.SilenceLimit(), func() *call {
		return m.calls.get(nil, programPortmap, versionPortmap, 0) // any answer is a sign of life
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run()
	}()
	defer func() {
		c.fail(fs.ErrClosed)
		<-done
	}()
	err = use(c)
	var lost *lostError
	if errors.As(err, &lost) || errors.Is(err, ErrProtocol) {
		return &remote.UnreachableError{Part: remote.PartHost, Name: address, Err: unavailable(address, err)}
	}
	return err
}

// ports finds where the NFS and MOUNT services listen, unless that is given.
func (m *mounter) ports(ctx context.Context, nfsPort, mountPort int) (int, int, error) {
	var err error
	if mountPort == 0 {
		mountPort, err = m.lookUpPort(ctx, programMount, versionMount)
		if err == nil && mountPort == 0 {
			err = &remote.UnreachableError{
				Part: remote.PartHost, Name: m.dialer.host,
				Err: fmt.Errorf("%w: it offers no NFSv3 (MOUNT v3 over TCP); mount an NFSv4 export and use file://", errors.ErrUnsupported),
			}
		}
		if err != nil {
			return 0, 0, fmt.Errorf("ask the portmapper, for no mountport is given: %w", err)
		}
	}
	if nfsPort == 0 {
		nfsPort, err = m.lookUpPort(ctx, programNFS, versionNFS)
		if ctx.Err() != nil {
			return 0, 0, context.Cause(ctx)
		}
		m.mapped = err == nil && nfsPort != 0
		if !m.mapped {
			nfsPort = portNFS // behind a firewall that lets only this through, and where the mountport was given
		}
	}
	return nfsPort, mountPort, nil
}

// mount returns the handle of the directory dir of the server, or of the
// directory above it that is nearest among those the server exports, and the
// rest of the path. It fails as the nearest attempt did.
func (m *mounter) mount(ctx context.Context, port int, dir string) (root handle, export, rest string, err error) {
	err = m.with(ctx, port, func(c *conn) error {
		var first error
		for export = dir; ; export = path.Dir(export) {
			err := m.mountOne(ctx, c, export, &root)
			if err == nil {
				return nil
			}
			if !isStatus(err, errNoEnt, errAcces, errPerm, errNotDir, errInval, errNameTooLong) {
				return err
			}
			if first == nil {
				first = err
			}
			if export == "/" {
				return first
			}
			rest = path.Join(path.Base(export), rest)
		}
	})
	return root, export, rest, err
}

func (m *mounter) mountOne(ctx context.Context, c *conn, export string, root *handle) error {
	k := m.calls.get(m.credential, programMount, versionMount, procMount)
	k.e.string(export)
	if err := c.roundTrip(ctx, k); err != nil {
		return err
	}
	d, err := k.result()
	if err != nil {
		return err
	}
	*root, err = decodeMount(d)
	return err
}

func decodeMount(d *decoder) (handle, error) {
	if s := status(d.uint32()); s != 0 && !d.bad {
		return handle{}, s
	}
	root := d.handle()
	n := d.uint32()
	if n > maxFlavors {
		return handle{}, errMalformed
	}
	var flavors []uint32
	for range n {
		flavors = append(flavors, d.uint32())
	}
	if err := d.end(); err != nil {
		return handle{}, err
	}
	if n > 0 && !slices.Contains(flavors, authSys) && !slices.Contains(flavors, authNone) {
		return handle{}, &rejection{
			text: fmt.Sprintf("the export wants Kerberos (security flavors %d): mount it and use file://", flavors),
			kind: errors.ErrUnsupported,
		}
	}
	return root, nil
}
