package nfs

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"

	"github.com/xenbackup/xenbackup/remote"
)

// Source ports below lastPort are privileged; below firstPort they belong to
// well-known services of this machine.
const (
	firstPort = 600
	lastPort  = 1024
)

// dialer makes the connections to one host.
type dialer struct {
	host string
	opts *remote.Options
}

func (d *dialer) address(port int) string { return net.JoinHostPort(d.host, strconv.Itoa(port)) }

// dial connects to a port of the host, from a privileged port of ours when the
// process may use one, for many servers want that.
func (d *dialer) dial(ctx context.Context, port int) (net.Conn, error) {
	if d.opts.DialContext != nil {
		return d.opts.Dial(ctx, d.address(port))
	}
	privileged := *d.opts
	privileged.DialContext = dialPrivileged
	return privileged.Dial(ctx, d.address(port))
}

// dialPrivileged dials from a privileged port, and from any port when none can be
// had: a server that insists says so later.
func dialPrivileged(ctx context.Context, network, address string) (net.Conn, error) {
	const ports = lastPort - firstPort
	first := rand.IntN(ports)
	for i := range ports {
		from := net.Dialer{LocalAddr: &net.TCPAddr{Port: firstPort + (first+i)%ports}}
		nc, err := from.DialContext(ctx, network, address)
		switch {
		case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EADDRNOTAVAIL):
			continue
		case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EINVAL):
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		return nc, err
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// unprivileged reports whether a connection comes from a port that a server may
// refuse for that.
func unprivileged(nc net.Conn) bool {
	addr, ok := nc.LocalAddr().(*net.TCPAddr)
	return ok && addr.Port >= lastPort
}

// hint is what to tell a person whose connection from an ordinary port is refused.
const hint = "this process cannot use a source port below 1024, which servers want unless told otherwise: " +
	"set the export to \"insecure\" (Linux; \"allow connections from non-privileged ports\" on a NAS), " +
	"or run with root's rights or CAP_NET_BIND_SERVICE"
