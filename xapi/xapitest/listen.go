package xapitest

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// HostInfo identifies a host of the pool.
type HostInfo struct {
	Name    string
	UUID    string
	Ref     string
	Address string // as the host object has it: without scheme and port
	URL     string // where the host listens
	Master  bool
	// Certificate is what the host shows; nil without TLS.
	Certificate *x509.Certificate
}

// Hosts returns the hosts of the pool in the order of the inventory.
func (p *Pool) Hosts() []HostInfo {
	infos := make([]HostInfo, 0, len(p.hosts))
	for i, ref := range p.hosts {
		h, err := p.db.record("host", ref)
		if err != nil {
			continue // ejected
		}
		infos = append(infos, HostInfo{
			Name: h.str("name_label"), UUID: h.str("uuid"), Ref: ref, Address: h.str("address"),
			URL: p.doors[i].url(), Master: ref == p.masterRef(), Certificate: p.doors[i].certificate,
		})
	}
	return infos
}

// door is where one host listens.
type door struct {
	listener    net.Listener
	certificate *x509.Certificate // nil without TLS
	key         crypto.PrivateKey
	server      *server
}

func (d *door) url() string {
	scheme := "http://"
	if d.certificate != nil {
		scheme = "https://"
	}
	return scheme + d.listener.Addr().String()
}

// open lets all hosts listen, and gives those an address that have none.
// Their certificates are made unless there are any.
func (p *Pool) open(hosts []Host, certificate func(i int) (*tls.Certificate, error)) error {
	listeners, err := p.listen(hosts)
	for i := range listeners {
		d := &door{listener: listeners[i]}
		p.doors = append(p.doors, d)
		var known *tls.Certificate
		if err == nil && certificate != nil {
			known, err = certificate(i)
		}
		if err == nil {
			err = p.secure(d, hosts[i], known)
		}
	}
	return err
}

// attempts is how many ports are tried that have to be free at all addresses.
const attempts = 32

// listen returns one listener for each host, also when it fails.
func (p *Pool) listen(hosts []Host) (listeners []net.Listener, err error) {
	if l := p.options.Listener; l != nil {
		return p.listenBeside(l, hosts)
	}
	address := p.options.Listen
	if address == "" {
		address = "127.0.0.1:0"
	}
	_, port, _ := net.SplitHostPort(address)
	for range attempts {
		var first net.Listener
		if first, err = listenTCP(address); err != nil {
			return nil, err
		}
		tried := append([]Host{}, hosts...)
		if listeners, err = p.listenBeside(first, tried); err == nil {
			copy(hosts, tried)
			return listeners, nil
		}
		if port != "0" {
			return listeners, err
		}
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
	}
	return nil, err
}

// listenBeside adds the listeners of the other hosts to that of the first: on
// addresses of their own, at the same port.
func (p *Pool) listenBeside(first net.Listener, hosts []Host) (listeners []net.Listener, err error) {
	listeners = []net.Listener{first}
	tcp, _ := first.Addr().(*net.TCPAddr)
	memory, _ := first.(*MemoryListener)
	if hosts[0].Address == "" {
		hosts[0].Address = "127.0.0.1"
		if tcp != nil && !tcp.IP.IsUnspecified() {
			hosts[0].Address = tcp.IP.String()
		}
	}
	for i := 1; i < len(hosts); i++ {
		h := &hosts[i]
		if h.Address == "" {
			h.Address = fmt.Sprintf("127.0.0.%d", i+1)
		}
		var l net.Listener
		switch {
		case memory != nil:
			l = memory.at(h.Address)
		case h.Listen != "":
			l, err = listenTCP(h.Listen)
		case tcp != nil:
			l, err = listenTCP(net.JoinHostPort(h.Address, strconv.Itoa(tcp.Port)))
		default:
			err = fmt.Errorf("no way to listen beside %s", first.Addr())
		}
		if err != nil {
			return listeners, fmt.Errorf("xapitest: host %d: %w", i, err)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func listenTCP(address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("xapitest: %w", err)
	}
	return l, nil
}

// secure wraps a door in TLS, if the options want it.
func (p *Pool) secure(d *door, h Host, known *tls.Certificate) error {
	certificate := p.options.Certificate
	if certificate == nil && !p.options.TLS {
		return nil
	}
	if certificate == nil {
		certificate = known
	}
	if certificate == nil {
		made, err := newCertificate(h.Address, d.listener.Addr())
		if err != nil {
			return err
		}
		certificate = made
	}
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		return fmt.Errorf("xapitest: %w", err)
	}
	d.certificate, d.key = leaf, certificate.PrivateKey
	d.listener = tls.NewListener(d.listener, &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12})
	return nil
}

// close stops listening; for a pool that never started.
func (p *Pool) closeDoors() error {
	var errs []error
	for _, d := range p.doors {
		errs = append(errs, d.listener.Close())
	}
	return errors.Join(errs...)
}

// limitedConn drops what is written beyond a number of bytes.
type limitedConn struct {
	net.Conn
	left int64
}

// Write passes on as much as is left, and pretends that it was all.
func (c *limitedConn) Write(b []byte) (int, error) {
	n := min(int64(len(b)), c.left)
	c.left -= n
	if n > 0 {
		if _, err := c.Conn.Write(b[:n]); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}
