package xapi

import (
	"context"
	"errors"
	"net/url"
)

// hostRecords are the hosts of a pool by reference: its database alone has these references.
type hostRecords map[string]struct {
	Address string `json:"address"`
}

// learnHosts remembers the addresses of the pool's hosts, for the day when the master cannot be reached. A pool that does not tell is
// none the worse.
func (c *Client) learnHosts(ctx context.Context, at *login) {
	records, err := c.hostsAt(ctx, at)
	if err != nil {
		c.log.DebugContext(ctx, "addresses of the hosts not learned", "error", err)
		return
	}
	var others []*url.URL
	for _, record := range records {
		if host, err := masterURL(at.host, record.Address); err == nil {
			others = append(others, host)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.others, c.hosts = others, records
}

func (c *Client) hostsAt(ctx context.Context, at *login) (records hostRecords, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.CancelTimeout, ErrStalled)
	defer cancel()
	err = c.post(ctx, at.host, "host.get_all_records", []any{string(at.session)}, &records)
	return records, err
}

// samePool tells whether a host that was asked in the master's place still belongs to the pool: its address may have passed to another.
func (c *Client) samePool(ctx context.Context, at *login) error {
	c.mu.Lock()
	known := c.hosts
	c.mu.Unlock()
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
// certificates only hosts that have a pin are asked.
func (c *Client) elsewhere(host *url.URL) []*url.URL {
	c.mu.Lock()
	others := append([]*url.URL{c.home}, c.others...)
	c.mu.Unlock()
	var places []*url.URL
	seen := map[string]bool{host.Host: true}
	for _, other := range others {
		if _, pinned := c.opts.Pins[other.Hostname()]; len(c.opts.Pins) > 0 && !pinned {
			continue
		}
		if !seen[other.Host] {
			seen[other.Host] = true
			places = append(places, other)
		}
	}
	return places
}

// adrift reports whether the call never left, because host could not be reached, and there are other hosts to ask. A host that was
// reached and did not prove itself is no reason to go elsewhere.
func (c *Client) adrift(host *url.URL, err error) bool {
	return errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrUntrusted) && len(c.elsewhere(host)) > 0
}

// logInAnywhere logs in at host or, when that cannot be reached, wherever another host of the pool says the master is now. The error
// is host's.
func (c *Client) logInAnywhere(ctx context.Context, host *url.URL) (*login, error) {
	at, err := c.logIn(ctx, host)
	if err == nil || !c.adrift(host, err) {
		return at, err
	}
	for _, other := range c.elsewhere(host) {
		if ctx.Err() != nil {
			break
		}
		c.log.InfoContext(ctx, "asking another host for the master", "unreachable", host.Host, "host", other.Host)
		at, otherErr := c.logIn(ctx, other)
		if otherErr != nil {
			continue
		}
		if otherErr = c.samePool(ctx, at); otherErr == nil {
			return at, nil
		}
		c.log.WarnContext(ctx, "not the pool's master", "host", other.Host, "error", c.secrets.wrap(otherErr))
		_ = c.logout(ctx, at)
	}
	return nil, err
}
