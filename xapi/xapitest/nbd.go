package xapitest

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"iter"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/xenbackup/xenbackup/vhd/disk"
	"github.com/xenbackup/xenbackup/xapi/nbd"
)

// Purposes of a network that let hosts serve disks on it.
const (
	purposeNBD      = "nbd"
	purposeInsecure = "insecure_nbd"
)

func (p *Pool) nbdMethods() map[string]*method {
	return map[string]*method{
		"VDI.get_nbd_info": syncOnly("self:ref", p.vdiNBDInfo),
		"network.add_purpose": both("self:ref value:string", func(_ context.Context, c *call) (any, error) {
			return nil, p.db.update(func(tx tx) error { return tx.addPurpose(c.str(0), c.str(1)) })
		}),
	}
}

// addPurpose refuses to mix encrypted and plain NBD in one pool.
func (t tx) addPurpose(ref, purpose string) error {
	network, err := t.record("network", ref)
	if err != nil {
		return err
	}
	other := map[string]string{purposeNBD: purposeInsecure, purposeInsecure: purposeNBD}[purpose]
	for _, n := range t.all("network") {
		if other != "" && slices.Contains(n.set("purpose"), other) {
			return fail("NETWORK_INCOMPATIBLE_PURPOSES", purpose, other)
		}
	}
	return t.set("network", ref, record{"purpose": with(network.set("purpose"), purpose)})
}

// nbdService is the NBD server of one host. Each listens on a free port of its
// address, from the first time that someone asks for it.
type nbdService struct {
	mu     sync.Mutex
	closed bool
	doors  map[string]*nbdDoor // by host
}

type nbdDoor struct {
	address string
	port    int64
	name    string // for which the certificate is
	cert    string // PEM; empty when connections are plain
	cancel  context.CancelFunc
	ended   chan struct{}
}

// vdiNBDInfo says where a disk can be read: at each host that sees it, if a
// network of that host has a purpose for it.
func (p *Pool) vdiNBDInfo(_ context.Context, c *call) (any, error) {
	var hosts []string
	var vdi record
	secure := false
	err := p.db.update(func(tx tx) (err error) {
		if err = tx.hasData(c.str(0)); err != nil {
			return err
		}
		if vdi, err = tx.record("VDI", c.str(0)); err == nil {
			hosts, secure = tx.nbdHosts(vdi)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	export := "/" + vdi.str("uuid") + "?session_id=" + url.QueryEscape(c.session)
	infos := []record{}
	for _, host := range hosts {
		door, err := p.openNBD(host, secure)
		if err != nil {
			return nil, err
		}
		infos = append(infos, record{
			"exportname": export, "address": door.address, "port": door.port, "cert": door.cert, "subject": door.name,
		})
	}
	return infos, nil
}

// nbdHosts lists the hosts that see a disk and serve NBD, and whether they do so
// with TLS.
func (t tx) nbdHosts(vdi record) (hosts []string, secure bool) {
	sr, err := t.record("SR", vdi.str("SR"))
	if err != nil {
		return nil, false
	}
	for _, ref := range sr.set("PBDs") {
		pbd, err := t.record("PBD", ref)
		if err != nil || !pbd.bool("currently_attached") {
			continue
		}
		purposes := t.purposesOf(pbd.str("host"))
		if slices.Contains(purposes, purposeNBD) || slices.Contains(purposes, purposeInsecure) {
			hosts = append(hosts, pbd.str("host"))
		}
		secure = secure || slices.Contains(purposes, purposeNBD)
	}
	return hosts, secure
}

// purposesOf lists those of all networks that a host is connected to.
func (t tx) purposesOf(ref string) (purposes []string) {
	host, err := t.record("host", ref)
	if err != nil {
		return nil
	}
	for _, ref := range host.set("PIFs") {
		pif, err := t.record("PIF", ref)
		if err != nil || !pif.bool("currently_attached") {
			continue
		}
		if network, err := t.record("network", pif.str("network")); err == nil {
			purposes = append(purposes, network.set("purpose")...)
		}
	}
	return purposes
}

// openNBD returns where a host serves, and lets it listen if it does not yet. A
// change between TLS and plain makes it listen anew, as a host restarts its
// server.
func (p *Pool) openNBD(host string, secure bool) (*nbdDoor, error) {
	rec, err := p.db.record("host", host)
	if err != nil {
		return nil, err
	}
	s := &p.nbd
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if door := s.doors[host]; door != nil {
		if (door.cert != "") == secure {
			return door, nil
		}
		door.close()
	}
	door, err := p.serveNBD(rec, secure)
	if err != nil {
		return nil, err
	}
	if s.doors == nil {
		s.doors = make(map[string]*nbdDoor)
	}
	s.doors[host] = door
	return door, nil
}

var errClosed = errors.New("xapitest: the pool is closed")

func (p *Pool) serveNBD(host record, secure bool) (*nbdDoor, error) {
	listener, err := listenTCP(net.JoinHostPort(host.str("address"), "0"))
	if err != nil {
		if listener, err = listenTCP("127.0.0.1:0"); err != nil { // an address that only the inventory knows
			return nil, err
		}
	}
	server := &nbd.Server{Open: p.openExport, Legacy: true, Logger: p.log}
	door := &nbdDoor{ended: make(chan struct{}), name: host.str("hostname")}
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok {
		door.address, door.port = tcp.IP.String(), int64(tcp.Port)
	}
	if secure {
		certificate, err := newCertificate(door.name, listener.Addr())
		if err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		door.cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}))
		server.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12}
	}
	ctx, cancel := context.WithCancel(context.Background())
	door.cancel = cancel
	go func() { // close waits for it
		defer close(door.ended)
		_ = server.ServeListener(ctx, listener) // it ends with ctx
	}()
	return door, nil
}

// close cuts all connections and waits until their disks are detached.
func (d *nbdDoor) close() {
	d.cancel()
	<-d.ended
}

func (s *nbdService) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, door := range s.doors {
		door.close()
	}
}

// openExport attaches the disk of an export name to the control domain, for as
// long as the connection lasts.
func (p *Pool) openExport(_ context.Context, name string) (disk.Source, error) {
	where, err := url.Parse(name)
	if err != nil {
		return nil, errors.New("xapitest: malformed export name") // it has a session
	}
	if err := p.touchSession(where.Query().Get("session_id")); err != nil {
		return nil, errors.New("xapitest: no such session")
	}
	ref, vdi, err := p.db.byRefOrUUID("VDI", strings.TrimPrefix(where.Path, "/"))
	if err != nil {
		return nil, err
	}
	detach, err := p.attach(readOnly, ref)
	if err != nil {
		return nil, err
	}
	f, err := p.disks.open(vdi.str("uuid"))
	if err != nil {
		detach()
		return nil, err
	}
	return &attachedDisk{file: f, size: vdi.int("virtual_size"), detach: detach}, nil
}

// attachedDisk is a disk as the control domain sees it while it is plugged.
type attachedDisk struct {
	file   *os.File
	size   int64
	detach func()
}

// Size returns the virtual size.
func (d *attachedDisk) Size() int64 { return d.size }

// ReadAt reads, with zeros where the file ends before the disk.
func (d *attachedDisk) ReadAt(p []byte, off int64) (int, error) {
	n := max(0, min(int64(len(p)), d.size-off))
	if err := readFull(d.file, p[:n], off); err != nil {
		return 0, err
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// Extents calls all of the disk data: hosts do not tell.
func (d *attachedDisk) Extents(_ context.Context, off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if n = min(n, d.size-off); n > 0 {
			yield(disk.Extent{Off: off, Len: n, Kind: disk.Data}, nil)
		}
	}
}

// Close unplugs the disk.
func (d *attachedDisk) Close() error {
	err := d.file.Close()
	d.detach()
	return err
}
