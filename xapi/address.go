package xapi

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// parseAddress accepts http(s)://host[:port], host:port and host; without a scheme it is https. The input is not repeated in
// errors when it may hold a password.
func parseAddress(addr string) (*url.URL, error) {
	if !strings.Contains(addr, "://") {
		if ip, err := netip.ParseAddr(addr); err == nil && ip.Is6() {
			addr = "[" + addr + "]"
		}
		addr = "https://" + addr
	}
	u, err := url.Parse(addr)
	if err != nil || u.User != nil || strings.Contains(addr, "@") {
		return nil, errors.New("xapi: address is not http(s)://host[:port]; credentials belong into Options")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("xapi: address: scheme %q is neither http nor https", u.Scheme)
	}
	if u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("xapi: address %q is not http(s)://host[:port]", addr)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// masterURL is where HOST_IS_SLAVE points: a bare name or address, IPv6 without brackets, reached with the scheme and the port that
// reached the slave. A port that comes with the address wins.
func masterURL(slave *url.URL, master string) (*url.URL, error) {
	host, port := master, slave.Port()
	if _, err := netip.ParseAddr(master); err != nil {
		if h, p, err := net.SplitHostPort(master); err == nil {
			host, port = h, p
		}
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" || strings.ContainsAny(host, "/@?#\\ \t\r\n%[]") {
		return nil, fmt.Errorf("%w: master address %.80q", ErrProtocol, master)
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	return parseAddress(slave.Scheme + "://" + host)
}
