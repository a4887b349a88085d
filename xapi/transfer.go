package xapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// transfer is one HTTP data request and the task that the pool reports its outcome in. The task is made before the request; the handler
// completes it, whatever happens. The session of the request is held until the transfer ends.
type transfer struct {
	client *Client
	what   string // for errors: export of VDI …
	at     *login
	task   Ref[Task]
	result any // where the task's result goes; nil ignores it
}

func (c *Client) newTransfer(ctx context.Context, what, name string) (*transfer, error) {
	t := &transfer{client: c, what: what}
	if name == "" {
		name = what
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("xapi: %s: %w", what, context.Cause(ctx))
	}
	// Made under a context that outlives ctx: a call that is cut off would leave a task nobody knows.
	grace, stop := outlive(ctx, c.opts.CancelTimeout)
	defer stop()
	err := c.Call(grace, "task.create", &t.task, name, "")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	at, err := c.attached(ctx)
	if err != nil {
		t.abandon(ctx)
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	t.at = at
	c.hold(at)
	return t, nil
}

// renew logs in again when the handler refused the session that the transfer was made with.
func (t *transfer) renew(ctx context.Context) error {
	if _, err := t.client.attach(ctx, t.at); err != nil {
		return fmt.Errorf("%s: %w", t.what, err)
	}
	return nil
}

// url is where the transfer begins. The handlers read all from the query; host headers are limited to 1 KiB, so it stays short.
func (t *transfer) url(path string, query url.Values) *url.URL {
	query.Set("session_id", string(t.at.session))
	query.Set("task_id", string(t.task))
	u := t.at.host.JoinPath(path)
	u.RawQuery = query.Encode()
	return u
}

// send makes the request, following redirects to other hosts of the pool, and returns an answer of status 200. With an upload it is
// a PUT, else a GET.
func (t *transfer) send(ctx context.Context, target *url.URL, up *upload) (*http.Response, error) {
	for hop := 0; ; hop++ {
		moved, err := t.client.transferURL(ctx, target)
		if err != nil {
			return nil, err
		}
		target = moved
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
		if err != nil {
			return nil, t.client.secrets.wrap(err)
		}
		if up != nil {
			req.Method, req.Body, req.ContentLength = http.MethodPut, t.client.opts.Metrics.counted(up.body(), true), up.length
			if up.unframed { // else net/http would send chunks, which hosts refuse
				req.ContentLength, req.TransferEncoding, req.Close = -1, []string{"identity"}, true
			}
		}
		resp, err := t.client.roundTrip(t.client.data, req)
		if err == nil && resp.StatusCode == http.StatusOK {
			if up == nil {
				resp.Body = t.client.opts.Metrics.counted(resp.Body, false)
			}
			return resp, nil
		}
		var next *url.URL
		if err == nil {
			next, err = t.redirect(ctx, target, resp)
			_ = resp.Body.Close()
		}
		_ = req.Body.Close() // net/http may still be waiting for its first byte
		if err != nil {
			return nil, err
		}
		if up != nil && up.touched() {
			return nil, hostError(target.Host, ErrProtocol, errors.New("redirect in the middle of an upload"))
		}
		if hop == maxHops {
			return nil, hostError(target.Host, ErrProtocol, errors.New("too many redirects"))
		}
		target = next
	}
}

// redirect returns where a 302 points; any other answer is an error. The session goes along in the query, so only hosts of the pool
// are followed to, and never from https to http.
func (t *transfer) redirect(ctx context.Context, from *url.URL, resp *http.Response) (*url.URL, error) {
	switch resp.StatusCode {
	case http.StatusFound, http.StatusTemporaryRedirect:
	case http.StatusUnauthorized:
		return nil, &Error{Method: t.what, Code: ErrSessionInvalid.Code}
	default:
		return nil, t.client.unexpected(resp)
	}
	to, err := followable(from, resp.Header.Get("Location"))
	if err != nil {
		return nil, err
	}
	known, err := t.client.knownHost(ctx, to.Hostname())
	if err != nil {
		return nil, fmt.Errorf("redirect from %s: %w", from.Host, err)
	}
	if !known {
		return nil, hostError(from.Host, ErrProtocol, t.client.secrets.wrap(fmt.Errorf("redirect to %.80q, which is not a host of the pool", to.Host)))
	}
	return to, nil
}

// followable reads a Location. That the host is one of the pool is for the caller to find out. Hosts listen where the first one did, or
// at the port of the scheme: what else runs on them hears nothing.
func followable(from *url.URL, location string) (*url.URL, error) {
	to, err := from.Parse(location)
	if err != nil || to.User != nil || to.Hostname() == "" || to.Scheme != from.Scheme && to.Scheme != "https" ||
		portOf(to) != portOf(from) && portOf(to) != defaultPort(to.Scheme) {
		return nil, hostError(from.Host, ErrProtocol, errors.New("redirect to an address that must not be followed"))
	}
	return to, nil
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	return defaultPort(u.Scheme)
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// knownHost reports whether name is an address of a host of the pool, or where the client is logged in.
func (c *Client) knownHost(ctx context.Context, name string) (bool, error) {
	at, err := c.attached(ctx)
	if err != nil {
		return false, err
	}
	if sameHost(name, at.host.Hostname()) {
		return true, nil
	}
	hosts, err := All[Host](ctx, c)
	if err != nil {
		return false, err
	}
	for _, host := range hosts {
		if sameHost(name, host.Address) {
			return true, nil
		}
	}
	if c.opts.TransferNetwork == "" {
		return false, nil
	}
	addresses, err := c.TransferAddresses(ctx)
	for _, address := range addresses {
		if sameHost(name, address) {
			return true, err
		}
	}
	return false, err
}

func sameHost(a, b string) bool {
	ipA, errA := netip.ParseAddr(a)
	ipB, errB := netip.ParseAddr(b)
	if errA == nil && errB == nil {
		return ipA.Unmap() == ipB.Unmap()
	}
	return a != "" && strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// verdict returns what the task says, waiting for it no longer than ctx: nil for success, an *Error for failure, another error when
// it is not known.
func (t *transfer) verdict(ctx context.Context) error {
	record, err := t.client.await(ctx, t.task)
	if err != nil {
		return err
	}
	return t.client.outcome(t.what, record, t.result)
}

// explain is for a transfer that broke: the task's own error says more than the connection's, and comes soon, because the handler
// completes its task when it gives up. A task that is not over then is cancelled. The task is destroyed.
func (t *transfer) explain(ctx context.Context, broken error) error {
	if ctx.Err() == nil && !errors.Is(broken, ErrUnreachable) && !errors.Is(broken, ErrClosed) {
		waiting, cancel := t.client.cleanup(ctx)
		defer cancel()
		var refused *Error
		if err := t.verdict(waiting); errors.As(err, &refused) && !errors.Is(refused, ErrHandleInvalid) {
			t.end(ctx)
			return fmt.Errorf("%w (%w)", refused, broken)
		}
	}
	t.abandon(ctx)
	return fmt.Errorf("%s: %w", t.what, broken)
}

// abandon cancels and destroys the task. What an import has made all the same is in its result then.
func (t *transfer) abandon(ctx context.Context) {
	t.client.cancelTask(ctx, t.task)
	if t.result != nil {
		waiting, cancel := t.client.cleanup(ctx)
		defer cancel()
		_ = t.verdict(waiting) // the error to report is another one
	}
	t.end(ctx)
}

// end forgets the task, and lets go of the session. It must be the last thing that is done with a transfer.
func (t *transfer) end(ctx context.Context) {
	t.client.destroyTask(ctx, t.task)
	if t.at != nil {
		t.client.release(ctx, t.at)
	}
}
