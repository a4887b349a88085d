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
	"time"
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
	metric := CallMetric{Method: method, Host: host.Host, Up: int64(len(body))}
	begin := time.Now()
	metric.Down, err = c.exchange(ctx, req, method, result)
	if errors.Is(err, ErrStalled) { // the next request shall find out by a new connection whether the host is there
		c.dropIdle(host.Host)
	}
	metric.Took, metric.Outcome = time.Since(begin), outcomeOf(err)
	c.opts.Metrics.call(metric)
	return err
}

// exchange sends a request and reads its answer, whose length it returns as well.
func (c *Client) exchange(ctx context.Context, req *http.Request, method string, result any) (int64, error) {
	resp, err := c.roundTrip(c.rpc, req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); resp.StatusCode != http.StatusOK || !c.wire.speaks(mediaType) {
		return 0, c.unexpected(resp)
	}
	body := &boundedReader{src: resp.Body, left: c.opts.MaxAnswer}
	err = c.readAnswer(ctx, body, req.URL.Host, method, result)
	return c.opts.MaxAnswer - body.left, err
}

func (c *Client) readAnswer(ctx context.Context, body *boundedReader, host, method string, result any) error {
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
	case untrusted(err):
		return nil, hostError(req.URL.Host, ErrUntrusted, c.secrets.wrap(err))
	case asked.Load() && !connected.Load(), errors.As(err, &dial) && dial.Op == "dial":
		return nil, hostError(req.URL.Host, ErrUnreachable, c.secrets.wrap(err))
	default:
		return nil, hostError(req.URL.Host, ErrConnectionLost, c.unquoted(err))
	}
}

// unquoted keeps the errors of the network, and of a caller's own Transport. Others are net/http's about bytes that are not HTTP, and
// quote them in pieces, in which a secret may not be found.
func (c *Client) unquoted(err error) error {
	var network net.Error
	if len(c.owned) == 0 || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrClosed) {
		return c.secrets.wrap(err)
	}
	return &redactedError{text: "connection broken, or the answer is not HTTP", inner: err}
}

// statusError is an answer that is not the API's.
type statusError struct {
	status    int
	mediaType string
	excerpt   string // without secrets
}

func (e *statusError) Error() string { return fmt.Sprintf("HTTP status %d: %q", e.status, e.excerpt) }

// noSuchProtocol reports whether the host may be a pool that does not know the protocol it was asked in.
func (e *statusError) noSuchProtocol() bool {
	switch e.status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusUnsupportedMediaType:
		return true
	default:
		return e.status == http.StatusOK // of another type
	}
}

// unexpected describes an answer that is not the API's: its status and the beginning of its body, without secrets.
func (c *Client) unexpected(resp *http.Response) error {
	const limit = 16 << 10
	body, _ := io.ReadAll(io.LimitReader(resp.Body, limit)) // an excerpt for a message: what is there is enough
	text := string(body)
	if len(text) == limit { // the end may hold the first half of a secret
		text = text[:limit-min(limit, c.secrets.longest())]
	}
	text = c.secrets.redact(strings.ToValidUTF8(c.secrets.redact(text), "?"))
	excerpt := strings.Join(strings.Fields(text), " ")
	if len(excerpt) > maxExcerpt {
		excerpt = strings.ToValidUTF8(excerpt[:maxExcerpt], "") + "…"
	}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return hostError(resp.Request.URL.Host, ErrProtocol, &statusError{resp.StatusCode, mediaType, excerpt})
}
