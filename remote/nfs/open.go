package nfs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path"

	"github.com/xenbackup/xenbackup/remote"
)

// Open opens the directory dir, an absolute slash path, of an NFSv3 server. That
// may be an export or a folder in one. opts may be nil. A failure is a
// [remote.UnreachableError] that names what could not be reached: the host, the
// export or the folder.
//
// The Filesystem outlives ctx and must be closed.
func Open(ctx context.Context, host, dir string, opts *Options) (*FS, error) {
	if opts == nil {
		opts = &Options{}
	}
	credential := opts.Credential
	if credential == nil {
		credential = ProcessCredential()
	}
	m := &mounter{
		dialer:     &dialer{host: host, opts: &opts.Options},
		calls:      newCallPool(rand.Uint32()),
		credential: authSysCredential(credential),
	}
	nfsPort, mountPort, err := m.ports(ctx, opts.Port, opts.MountPort)
	if err != nil {
		return nil, err
	}
	root, export, rest, err := m.mount(ctx, mountPort, path.Clean("/"+dir))
	if err != nil {
		return nil, m.refused(host, path.Clean("/"+dir), err)
	}
	f := &FS{
		name:   fmt.Sprintf("nfs://%s%s", m.dialer.address(nfsPort), path.Join(export, rest)),
		client: newClient(m, nfsPort, opts),
		root:   root,
		dirs:   newDirCache(),
	}
	if err := f.enter(ctx, export, rest, opts.Create); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func newClient(m *mounter, port int, opts *Options) *client {
	c := &client{calls: m.calls, credential: m.credential, weak: m.weak, listingSize: listingSize}
	peer := m.dialer.address(port)
	probe := func() *call { return m.calls.get(nil, programNFS, versionNFS, procNull) }
	start := func(port int) *session {
		return newSession(peer, opts.SilenceLimit(), opts.Log(), func(ctx context.Context) (*conn, error) {
			nc, err := m.dialNFS(ctx, &port) // one attempt at a time
			if err != nil {
				return nil, err
			}
			return newConn(nc, peer, opts.SilenceLimit(), probe), nil
		})
	}
	c.session, c.bulk = start(port), start(port)
	c.bulk.beside = c.session
	return c
}

// dialNFS connects to the NFS service, and asks the portmapper that named the port
// again when it is not there any more: a server that restarts may take another.
func (m *mounter) dialNFS(ctx context.Context, port *int) (net.Conn, error) {
	nc, err := m.dialer.dial(ctx, *port)
	if err == nil || !m.mapped {
		return nc, err
	}
	m.mapping.Lock()
	defer m.mapping.Unlock()
	now, mapErr := m.lookUpPort(ctx, programNFS, versionNFS)
	if mapErr != nil || now == 0 || now == *port {
		return nil, err
	}
	*port = now
	return m.dialer.dial(ctx, now)
}

// refused names the part that the MOUNT service would not give.
func (m *mounter) refused(host, dir string, err error) error {
	var unreachable *remote.UnreachableError
	var r *rejection
	switch {
	case errors.As(err, &unreachable):
		return err
	case m.weak && (isStatus(err, errAcces, errPerm) || errors.As(err, &r) && r.weak):
		err = fmt.Errorf("%w; perhaps because %s", remote.PathError("mount", dir, cause(err)), hint)
	case isStatus(err, errAcces, errPerm, errNoEnt):
		err = fmt.Errorf("%w: not exported to this machine, or not there", remote.PathError("mount", dir, cause(err)))
	default:
		err = remote.PathError("mount", dir, cause(err))
	}
	return &remote.UnreachableError{Part: remote.PartShare, Name: dir + " of " + host, Err: err}
}

// enter makes the folder rest of the export the root, and learns the server's
// limits.
func (f *FS) enter(ctx context.Context, export, rest string, create bool) (err error) {
	if f.limits, err = f.client.limits(ctx, f.root); err != nil {
		weak := f.client.weak && isStatus(err, errPerm, errAcces)
		err = remote.PathError("mount", export, cause(err))
		if weak {
			err = fmt.Errorf("%w; perhaps because %s", err, hint)
		}
		return &remote.UnreachableError{Part: remote.PartShare, Name: export, Err: err}
	}
	if rest == "" {
		return nil
	}
	if create {
		err = remote.MkdirAll(ctx, f, rest)
	}
	var o object
	if err == nil {
		o, err = f.find(ctx, rest)
	}
	if err == nil && o.a.kind != typeDir {
		err = errNotDir
	}
	if err != nil {
		return &remote.UnreachableError{
			Part: remote.PartFolder, Name: fmt.Sprintf("%s in export %s", rest, export), Err: remote.PathError("open", rest, cause(err)),
		}
	}
	f.root, f.dirs = o.h, newDirCache()
	return nil
}
