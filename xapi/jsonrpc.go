package xapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
)

// maxRequest is what xapi accepts as the body of a call.
const maxRequest = 300 << 10

// maxExcerpt bounds how much of an unexpected answer an error quotes.
const maxExcerpt = 200

// post makes one call on one host. Its errors are an *Error when the pool refused, else name the host and are one of
// ErrUnreachable, ErrConnectionLost, ErrProtocol, or the cause of ctx.
func (c *Client) post(ctx context.Context, host *url.URL, method string, params []any, result any) error {
	body, err := c.wire.encode(c.calls.Add(1), method, params)
	if err != nil {
		return fmt.Errorf("xapi: %s: parameters: %w", method, c.secrets.wrap(err))
	}
	if len(body) > maxRequest {
		return fmt.Errorf("xapi: %s: %w: %d bytes", method, ErrRequestTooLarge, len(body))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, host.JoinPath(c.wire.path()).String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("xapi: %s: %w", host.Host, c.secrets.wrap(err))
	}
	req.Header.Set("Content-Type", c.wire.contentType())
	if idempotent(method) {
		// An empty value is not sent, but lets net/http repeat the request when a kept connection turns out to be dead. Other
		// calls it repeats only when nothing of them was written.
		req.Header["Idempotency-Key"] = []string{}
	}
	resp, err := c.roundTrip(c.rpc, req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); resp.StatusCode != http.StatusOK || !c.wire.speaks(mediaType) {
		return c.unexpected(resp)
	}
	return c.readAnswer(ctx, resp, host.Host, method, result)
}

func (c *Client) readAnswer(ctx context.Context, resp *http.Response, host, method string, result any) error {
	body := &boundedReader{src: resp.Body, left: c.opts.MaxAnswer}
	failed, err := c.wire.decode(body, method, result)
	switch {
	case err == nil && failed == nil:
		return nil
	case err == nil:
		return c.secrets.newError(method, failed[0], failed[1:])
	case ctx.Err() != nil:
		return fmt.Errorf("xapi: %s: %s: %w", host, method, context.Cause(ctx))
	case errors.Is(body.err, errAnswerTooLarge):
		return hostError(host, ErrProtocol, errAnswerTooLarge)
	case body.err != nil && !errors.Is(body.err, io.EOF):
		return hostError(host, ErrConnectionLost, c.secrets.wrap(body.err))
	default:
		return hostError(host, ErrProtocol, c.secrets.wrap(fmt.Errorf("%s: %w", method, err)))
	}
}

// idempotent calls may be repeated when it is unknown whether they were done.
func idempotent(method string) bool {
	_, name, _ := strings.Cut(method, ".")
	return method == "event.from" || strings.HasPrefix(name, "get_")
}

// roundTrip sends req as it is: redirects are answers like others, and no error of it shows the URL.
func (c *Client) roundTrip(via http.RoundTripper, req *http.Request) (*http.Response, error) {
	var asked, connected atomic.Bool
	ctx := req.Context()
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	}))
	req.Header.Set("User-Agent", c.opts.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := via.RoundTrip(req)
	if err == nil {
		return resp, nil
	}
	var dial *net.OpError
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("xapi: %s: %w", req.URL.Host, context.Cause(ctx))
	case asked.Load() && !connected.Load(), errors.As(err, &dial) && dial.Op == "dial":
		return nil, hostError(req.URL.Host, ErrUnreachable, c.secrets.wrap(err))
	default:
		return nil, hostError(req.URL.Host, ErrConnectionLost, c.secrets.wrap(err))
	}
}

// unexpected describes an answer that is not the API's: its status and the beginning of its body, without secrets.
func (c *Client) unexpected(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10)) // an excerpt for a message: what is there is enough
	excerpt := strings.Join(strings.Fields(c.secrets.redact(strings.ToValidUTF8(string(text), "?"))), " ")
	if len(excerpt) > maxExcerpt {
		excerpt = strings.ToValidUTF8(excerpt[:maxExcerpt], "") + "…"
	}
	return hostError(resp.Request.URL.Host, ErrProtocol, fmt.Errorf("HTTP status %d: %q", resp.StatusCode, excerpt))
}
