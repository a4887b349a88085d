package xapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// hostRecords are the hosts of a pool by reference: its database alone has these references.
type hostRecords map[string]hostRecord

type hostRecord struct {
	Address   string `json:"address"`
	Hostname  string `json:"hostname"`
	NameLabel string `json:"name_label"`
}

// isCalled reports whether somebody who says name means this host. A name is enough to find the pin to check the host by, never to
// trust it.
func (r hostRecord) isCalled(name string) bool {
	short, _, _ := strings.Cut(name, ".")
	return sameHost(name, r.Address) || sameHost(name, r.Hostname) || sameHost(name, r.NameLabel) || sameHost(short, r.Hostname)
}

// hostsLife is how long what is known of the hosts of a pool is good enough for a new login on the same host.
const hostsLife = time.Hour

// learnHosts remembers the hosts of the pool, for the day when the master cannot be reached. A pool that does not tell is none the
// worse.
func (c *Client) learnHosts(ctx context.Context, at *login) {
	c.mu.Lock()
	known := c.hosts != nil && c.hostsFrom == at.host.Host && time.Since(c.hostsRead) < hostsLife
	c.mu.Unlock()
	if known {
		return
	}
	records, err := c.hostsAt(ctx, at)
	if err != nil {
		c.log.DebugContext(ctx, "addresses of the hosts not learned", "error", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts, c.hostsFrom, c.hostsRead = records, at.host.Host, time.Now()
}

func (c *Client) hostsAt(ctx context.Context, at *login) (records hostRecords, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.CancelTimeout, ErrStalled)
	defer cancel()
	err = c.post(ctx, at.host, "host.get_all_records", []any{string(at.session)}, &records)
	return records, err
}

func (c *Client) knownHosts() hostRecords {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosts
}

// samePool tells whether a host that was asked in the master's place still belongs to the pool: its address may have passed to another.
func (c *Client) samePool(ctx context.Context, at *login) error {
	known := c.knownHosts()
	if len(known) == 0 {
		return nil
	}
	records, err := c.hostsAt(ctx, at)
	if err != nil {
		return err
	}
	for ref := range records {
		if _, ok := known[ref]; ok {
			return nil
		}
	}
	return hostError(at.host.Host, ErrUntrusted, errors.New("it belongs to another pool"))
}

// elsewhere are the places to ask for the master when it is not at host: where Dial began, and the hosts of the pool. With pinned
// certificates only hosts that have a pin are asked, by the name that is pinned: the password is for nobody else.
func (c *Client) elsewhere(host *url.URL) []*url.URL {
	var places []*url.URL
	seen := map[string]bool{host.Host: true}
	ask := func(place *url.URL) {
		if !seen[place.Host] {
			seen[place.Host] = true
			places = append(places, place)
		}
	}
	if len(c.opts.Pins) == 0 || c.pinned(c.home.Hostname()) {
		ask(c.home)
	}
	for _, record := range c.knownHosts() {
		for _, name := range c.provable(record) {
			if place, err := masterURL(host, name); err == nil {
				ask(place)
			}
		}
	}
	return places
}

// provable are the names by which a host can be asked to prove itself: its address, or with pins those that are pinned.
func (c *Client) provable(record hostRecord) []string {
	if len(c.opts.Pins) == 0 {
		return []string{record.Address}
	}
	var names []string
	if name := hostOnly(record.Address); c.pinned(name) {
		names = append(names, record.Address)
	}
	for name := range c.opts.Pins {
		if !sameHost(name, hostOnly(record.Address)) && record.isCalled(name) {
			names = append(names, name)
		}
	}
	return names
}

// hostOnly is a host without the port that may follow it.
func hostOnly(address string) string {
	if u, err := parseAddress(address); err == nil {
		return u.Hostname()
	}
	return address
}

func (c *Client) pinned(name string) bool {
	for host := range c.opts.Pins {
		if sameHost(host, name) {
			return true
		}
	}
	return false
}

// away reports whether err may mean that the host is gone, or that nobody but a proxy is left of it. A host that was reached and did
// not prove itself is no reason to go elsewhere.
func away(err error) bool {
	if answer, ok := errors.AsType[*statusError](err); ok {
		return answer.status == http.StatusBadGateway || answer.status == http.StatusServiceUnavailable || answer.status == http.StatusGatewayTimeout
	}
	return !errors.Is(err, ErrUntrusted) &&
		(errors.Is(err, ErrUnreachable) || errors.Is(err, ErrConnectionLost) || errors.Is(err, ErrStalled))
}

// adrift reports whether host is away, and there are other hosts to ask.
func (c *Client) adrift(host *url.URL, err error) bool {
	return away(err) && len(c.elsewhere(host)) > 0
}

// follow finds the login for the repetition of a call that failed by the given one, or returns the error to report. again says that
// the call may be repeated though it may have been done; what never left may always be.
func (c *Client) follow(ctx context.Context, at *login, cause error, again bool) (*login, error) {
	if errors.Is(cause, ErrSessionInvalid) || errors.Is(cause, ErrHostIsSlave) {
		c.log.InfoContext(ctx, "session lost", "host", at.host.Host)
		return c.attach(ctx, at)
	}
	if ctx.Err() != nil || !again && !errors.Is(cause, ErrUnreachable) || !c.adrift(at.host, cause) {
		return nil, cause
	}
	next, err := c.attach(ctx, at)
	switch {
	case errors.Is(err, ErrClosed):
		return nil, err
	case err != nil:
		return nil, cause
	case next.host.Host == at.host.Host: // it was away for a moment only, and knows the session
		c.replace(ctx, at)
	}
	return next, nil
}

// logInAnywhere logs in at host or, when that is away, wherever another host of the pool says the master is now. The error is host's.
func (c *Client) logInAnywhere(ctx context.Context, host *url.URL) (*login, error) {
	at, err := c.logIn(ctx, host)
	if err == nil || !c.adrift(host, err) {
		return at, err
	}
	for _, other := range c.elsewhere(host) {
		if ctx.Err() != nil {
			break
		}
		c.log.InfoContext(ctx, "asking another host for the master", "away", host.Host, "host", other.Host)
		at, otherErr := c.logIn(ctx, other)
		if otherErr != nil {
			continue
		}
		if otherErr = c.samePool(ctx, at); otherErr == nil {
			return at, nil
		}
		c.log.WarnContext(ctx, "not the pool's master", "host", other.Host, "error", c.secrets.wrap(otherErr))
		c.forget(ctx, at)
	}
	return nil, err
}
