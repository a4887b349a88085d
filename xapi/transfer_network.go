package xapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// PoolBackupNetwork as Options.TransferNetwork means the network whose UUID the pool holds in other_config as xo:backupNetwork, where
// Xen Orchestra keeps it; none if it holds none.
const PoolBackupNetwork = "xo:backupNetwork"

// ErrNoTransferAddress is returned when a host has no address on Options.TransferNetwork.
var ErrNoTransferAddress = errors.New("no address on the transfer network")

// routes are the addresses of the hosts on the transfer network. They are read once per login.
type routes struct {
	login      *login
	restricted bool // otherwise transfers go to the management addresses
	hosts      []route
}

type route struct {
	host       Ref[Host]
	management string
	transfer   string // empty if there is none
	master     bool
}

// TransferAddresses are the addresses of the hosts on Options.TransferNetwork, without port or brackets. They are nil when transfers
// are not kept to a network; a host that has no address there is missing.
func (c *Client) TransferAddresses(ctx context.Context) (map[Ref[Host]]string, error) {
	r, err := c.transferRoutes(ctx)
	if err != nil || !r.restricted {
		return nil, err
	}
	addresses := make(map[Ref[Host]]string, len(r.hosts))
	for _, host := range r.hosts {
		if host.transfer != "" {
			addresses[host.host] = host.transfer
		}
	}
	return addresses, nil
}

// transferURL moves a URL at an address of a host of the pool to its address on the transfer network. At whichever address, the same
// host must prove itself, by the name that calls reach it by.
func (c *Client) transferURL(ctx context.Context, u *url.URL) (*url.URL, error) {
	if c.opts.TransferNetwork == "" {
		return u, nil
	}
	r, err := c.transferRoutes(ctx)
	if err != nil || !r.restricted {
		return u, err
	}
	for _, host := range r.hosts {
		if !host.isAt(u, r.login.host) {
			continue
		}
		if host.transfer == "" {
			return nil, hostError(u.Host, ErrNoTransferAddress, nil)
		}
		moved := *u
		moved.Host = joinHost(host.transfer, u.Port())
		identity := host.management
		if host.master {
			identity = r.login.host.Hostname()
		}
		for _, owned := range c.owned {
			owned.identify(moved.Host, identity)
		}
		return &moved, nil
	}
	return nil, hostError(u.Host, ErrNoTransferAddress, nil)
}

// isAt reports whether u leads to this host. master is where calls go.
func (r route) isAt(u, master *url.URL) bool {
	return r.transfer != "" && sameHost(u.Hostname(), r.transfer) || sameHost(u.Hostname(), r.management) || r.master && u.Host == master.Host
}

// joinHost brackets IPv6; port may be empty.
func joinHost(host, port string) string {
	if port != "" {
		return net.JoinHostPort(host, port)
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

func (c *Client) transferRoutes(ctx context.Context) (*routes, error) {
	at, err := c.attached(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	known := c.routes
	c.mu.Unlock()
	if known != nil && known.login == at {
		return known, nil
	}
	r, err := c.readRoutes(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("transfer network: %w", err)
	}
	c.mu.Lock()
	c.routes = r
	c.mu.Unlock()
	return r, nil
}

func (c *Client) readRoutes(ctx context.Context, at *login) (*routes, error) {
	pools, err := All[Pool](ctx, c)
	if err != nil {
		return nil, err
	}
	uuid := c.opts.TransferNetwork
	var master Ref[Host]
	for _, pool := range pools {
		master = pool.Master
		if c.opts.TransferNetwork == PoolBackupNetwork {
			uuid = pool.OtherConfig[PoolBackupNetwork]
		}
	}
	if uuid == "" || uuid == PoolBackupNetwork {
		return &routes{login: at}, nil
	}
	network, err := ByUUID[Network](ctx, c, uuid)
	if err != nil {
		return nil, err
	}
	hosts, err := All[Host](ctx, c)
	if err != nil {
		return nil, err
	}
	pifs, err := All[PIF](ctx, c)
	if err != nil {
		return nil, err
	}
	addresses := map[Ref[Host]]string{}
	for _, pif := range pifs {
		if address := pif.address(); pif.Network == network && address != "" {
			addresses[pif.Host] = address
		}
	}
	r := &routes{login: at, restricted: true}
	for ref, host := range hosts {
		r.hosts = append(r.hosts, route{ref, host.Address, addresses[ref], ref == master})
	}
	return r, nil
}

// address is the interface's first address of its primary kind, of the other if it has none of that.
func (pif PIF) address() string {
	var v6 string
	for _, address := range pif.IPv6 {
		if address, _, _ = strings.Cut(address, "/"); address != "" && v6 == "" {
			v6 = address
		}
	}
	if pif.IP == "" || strings.EqualFold(pif.PrimaryAddressType, "IPv6") && v6 != "" {
		return v6
	}
	return pif.IP
}
