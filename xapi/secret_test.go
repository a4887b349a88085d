package xapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
)

// canary is a password that every encoding spells differently. In all of them, and in every session, mark stays.
const (
	mark   = "cAnArY"
	canary = mark + `-"<p&ss>\ wörd:+/%'` + mark
)

// echo is a host that repeats everything it hears, in many spellings, wherever an answer has room for text.
type echo struct {
	*server
	mu     sync.Mutex
	secret string // the session of the last request
}

func newEcho(t *testing.T) *echo {
	t.Helper()
	e := &echo{server: newServer(t)}
	e.serve(http.HandlerFunc(e.logIn))
	return e
}

// logIn answers logins, which hand out canaries, and what belongs to tasks.
func (e *echo) logIn(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	call := string(body)
	e.mu.Lock()
	defer e.mu.Unlock()
	result := any("")
	switch {
	case strings.Contains(call, "login_with_password"):
		e.secret = "OpaqueRef:" + mark + "-" + strconv.Itoa(time.Now().Nanosecond()) + "-0123456789abcdef0123456789-" + mark
		result = e.secret
	case strings.Contains(call, "get_all_records"):
		result = map[string]any{}
	case strings.Contains(call, "task.create"):
		result = "OpaqueRef:task"
	case strings.Contains(call, "task.get_record"):
		result = xapi.Task{Status: "failure", ErrorInfo: append([]string{"INTERNAL_ERROR"}, e.spellings()...)}
	}
	if r.URL.Path != "/jsonrpc" {
		w.Header().Set("Content-Type", "text/xml")
		_, _ = io.WriteString(w, xmlResponse(map[string]any{"Status": "Success", "Value": asXapi(result)}))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "result": result, "id": 1})
}

// spellings needs the lock.
func (e *echo) spellings() []string {
	var all []string
	for _, secret := range []string{canary, e.secret} {
		quoted, _ := json.Marshal(secret)
		all = append(all, secret, url.QueryEscape(secret), url.PathEscape(secret), html.EscapeString(secret), string(quoted), strconv.Quote(secret),
			strconv.QuoteToASCII(secret), strings.ToLower(url.QueryEscape("%"))+url.QueryEscape(secret))
	}
	return all
}

func (e *echo) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.spellings(), "\n")
}

func (e *echo) session() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.secret
}

func (e *echo) setSession(secret string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.secret = secret
}

// allTexts prints an error and everything in it in every way.
func allTexts(err error) []string {
	if err == nil {
		return nil
	}
	texts := []string{err.Error(), fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), fmt.Sprintf("%q", err)}
	switch wrapped := err.(type) { //nolint:errorlint // every link is looked at by itself
	case interface{ Unwrap() error }:
		texts = append(texts, allTexts(wrapped.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, inner := range wrapped.Unwrap() {
			texts = append(texts, allTexts(inner)...)
		}
	}
	return texts
}

// say answers everything but logins with one raw text.
func (e *echo) say(status int, mediaType, body string, header ...string) {
	e.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
}

// sayRaw answers everything with bytes that need not be HTTP, and hangs up.
func (e *echo) sayRaw(text string) {
	e.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
	}))
}

func TestNoCanaryComesOut(t *testing.T) {
	t.Parallel()
	for _, protocol := range []xapi.Protocol{xapi.JSONRPC, xapi.XMLRPC}[:thinned(2)] {
		t.Run(string(protocol), func(t *testing.T) {
			t.Parallel()
			testNoCanaryComesOut(t, protocol)
		})
	}
}

func testNoCanaryComesOut(t *testing.T, protocol xapi.Protocol) {
	t.Helper()
	e := newEcho(t)
	var mu sync.Mutex
	var seen strings.Builder
	note := func(texts ...any) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(&seen, "%+v %#v\n", texts, texts)
	}
	var log lockedBuffer
	opts := &xapi.Options{
		Password: canary, Protocol: protocol, CancelTimeout: 50 * time.Millisecond, StallTimeout: 100 * time.Millisecond, FirstByteTimeout: 200 * time.Millisecond, PollInterval: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Retry:  xapi.RetryPolicy{Attempts: 2, Wait: time.Millisecond},
		Metrics: &xapi.Metrics{
			Call: func(m xapi.CallMetric) { note(m) }, Retry: func(m xapi.RetryMetric) { note(m) }, Task: func(m xapi.TaskMetric) { note(m) },
		},
	}
	note(*opts, opts.Password)
	errorPaths := 0
	collect := func(what string, err error) {
		t.Helper()
		require.Error(t, err, what)
		errorPaths++
		for _, text := range allTexts(err) {
			require.NotContains(t, text, mark, what)
			note(text)
		}
	}
	dial := func() *xapi.Client {
		e.serve(http.HandlerFunc(e.logIn))
		c, err := xapi.Dial(t.Context(), e.URL, opts)
		require.NoError(t, err)
		note(c)
		return c
	}
	media := map[xapi.Protocol]string{xapi.JSONRPC: "application/json", xapi.XMLRPC: "text/xml"}[protocol]
	answers := func() map[string]func() {
		text := e.text()
		quoted, _ := json.Marshal(text)
		failed, _ := json.Marshal(map[string]any{"error": append([]string{"SR_BACKEND_FAILURE_" + canary}, strings.Split(text, "\n")...), "id": 1})
		slave, _ := json.Marshal(map[string]any{"error": []string{"HOST_IS_SLAVE", canary + "/" + e.session()}, "id": 1})
		busy, _ := json.Marshal(map[string]any{"error": []string{"TOO_BUSY", canary}, "id": 1})
		invalid, _ := json.Marshal(map[string]any{"error": []string{"SESSION_INVALID", e.session()}, "id": 1})
		bad := `{"jsonrpc":"2.0","result":{"` + strings.Trim(string(quoted), `"`) + `": x`
		wrong := `{"jsonrpc":"2.0","result":` + string(quoted) + `}`
		if protocol == xapi.XMLRPC {
			failure := func(description ...string) []byte {
				return []byte(xmlResponse(map[string]any{"Status": "Failure", "ErrorDescription": description}))
			}
			failed = failure(append([]string{"SR_BACKEND_FAILURE_" + canary}, strings.Split(text, "\n")...)...)
			slave, busy = failure("HOST_IS_SLAVE", canary+"/"+e.session()), failure("TOO_BUSY", canary)
			invalid = failure("SESSION_INVALID", e.session())
			bad = "<methodResponse><params><param><value><int>" + e.session() + "</int></value></param></params></methodResponse>"
			wrong = "<methodResponse><fault><value>" + html.EscapeString(text) + "</value></fault></methodResponse>"
		}
		return map[string]func(){
			"500":           func() { e.say(500, "text/html", "<html>"+text) },
			"404":           func() { e.say(404, "text/plain", text) },
			"401":           func() { e.say(401, "text/plain", text, "WWW-Authenticate", "Basic") },
			"403, far away": func() { e.say(403, "text/html", strings.Repeat(" ", 16<<10-30)+e.session()) },
			"a page":        func() { e.say(200, "text/html", text) },
			"failure":       func() { e.say(200, media, string(failed)) },
			"slave":         func() { e.say(200, media, string(slave)) },
			"busy":          func() { e.say(200, media, string(busy)) },
			"invalid":       func() { e.say(200, media, string(invalid)) },
			"broken":        func() { e.say(200, media, bad) },
			"wrong type":    func() { e.say(200, media, wrong) },
			"trailing":      func() { e.say(200, media, wrong+text) },
			"not HTTP":      func() { e.sayRaw(text) },
			"bad header":    func() { e.sayRaw("HTTP/1.1 200 OK\r\n" + e.session() + "\r\n\r\n") },
			"bad status":    func() { e.sayRaw("HTTP/1.1 " + canary + "\r\n\r\n") },
			"cut":           func() { e.say(200, media, bad, "Content-Length", "100000") },
			"redirect": func() {
				e.say(302, "text/html", text, "Location", "http://"+mark+".example.org/?"+url.QueryEscape(e.session()))
			},
			"bad redirect":   func() { e.say(302, "text/html", text, "Location", "http://u:"+e.session()+"@[/") },
			"no redirect":    func() { e.say(302, "text/html", text) },
			"nothing at all": func() { e.sayRaw("") },
			"silence": func() { // accepts, and never answers
				e.serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					conn, buffered, err := http.NewResponseController(w).Hijack()
					if err == nil {
						_, _ = io.Copy(io.Discard, buffered) // until the client leaves
						_ = conn.Close()
					}
				}))
			},
		}
	}
	c := dial()
	for name := range answers() {
		if name == "redirect" {
			continue // the name of that host is what the error is about
		}
		use := func(kind string, f func(context.Context) error) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			answers()[name]()
			collect(kind+": "+name, f(ctx))
		}
		kept := e.session()
		e.setSession("none") // the new client cannot know another's
		useLogin := use
		if name == "wrong type" && protocol == xapi.JSONRPC { // any text is a session
			useLogin = func(string, func(context.Context) error) {}
		}
		useLogin("login", func(ctx context.Context) error {
			_, err := xapi.Dial(ctx, e.URL, opts)
			return err
		})
		e.setSession(kept)
		use("getter", func(ctx context.Context) error {
			_, err := xapi.Get(ctx, c, xapi.Ref[xapi.VM]("OpaqueRef:vm"))
			return err
		})
		use("call", func(ctx context.Context) error {
			var n int
			return c.Call(ctx, "VM.start", &n, "OpaqueRef:vm")
		})
		use("task", func(ctx context.Context) error { return c.CallAsync(ctx, "VM.start", new(int)) })
		for what, transfer := range everyTransfer {
			use(what, func(ctx context.Context) error { return transfer(ctx, c) })
		}
		// with calls that work, so that the handler is reached
		handler := func() http.Handler {
			answers()[name]()
			e.server.mu.Lock()
			h := e.override
			e.server.mu.Unlock()
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					e.logIn(w, r)
					return
				}
				w.Header().Set("Connection", "close") // or the server would wait for the body of an upload before it answers
				h.ServeHTTP(w, r)
			})
		}()
		e.serve(handler)
		for what, transfer := range everyTransfer {
			collect(what+", reached: "+name, transfer(t.Context(), c))
		}
	}
	e.serve(http.HandlerFunc(e.logIn))
	require.NoError(t, c.Close())
	collect("closed", c.Call(t.Context(), "VM.start", nil))
	collect("unencodable", dial().Call(t.Context(), "VM.start", nil, func() {}))
	_, err := xapi.Dial(t.Context(), "https://root:"+canary+"@host", opts)
	collect("address", err)
	_, err = xapi.Dial(t.Context(), "http://127.0.0.1:1", opts)
	collect("unreachable", err)
	require.Greater(t, errorPaths, 100)
	require.NotContains(t, log.String(), mark)
	require.NotEmpty(t, log.String())
	require.NotContains(t, seen.String(), mark)
}

// everyTransfer is one of each kind.
var everyTransfer = map[string]func(ctx context.Context, c *xapi.Client) error{
	"export of a VHD": downloading(func(ctx context.Context, c *xapi.Client) (*xapi.Download, error) {
		return c.ExportVDI(ctx, "OpaqueRef:vdi", nil)
	}),
	"raw export": downloading(func(ctx context.Context, c *xapi.Client) (*xapi.Download, error) {
		return c.ExportVDI(ctx, "OpaqueRef:vdi", &xapi.ExportVDIOptions{Format: "raw"})
	}),
	"export of a VM": downloading(func(ctx context.Context, c *xapi.Client) (*xapi.Download, error) {
		return c.ExportVM(ctx, "OpaqueRef:vm", &xapi.ExportVMOptions{Compression: xapi.CompressZstd})
	}),
	"export of metadata": downloading(func(ctx context.Context, c *xapi.Client) (*xapi.Download, error) {
		return c.ExportMetadata(ctx, "", nil)
	}),
	"dump": downloading(func(ctx context.Context, c *xapi.Client) (*xapi.Download, error) { return c.DumpDatabase(ctx, nil) }),
	"import into a disk": func(ctx context.Context, c *xapi.Client) error {
		return c.ImportVDI(ctx, "OpaqueRef:vdi", 3, strings.NewReader("abc"), nil)
	},
	"import of a VM": func(ctx context.Context, c *xapi.Client) error {
		_, err := c.ImportVM(ctx, 3, strings.NewReader("abc"), nil)
		return err
	},
	"import of a VM of unknown length": func(ctx context.Context, c *xapi.Client) error {
		_, err := c.ImportVM(ctx, xapi.UnknownLength, io.MultiReader(strings.NewReader("ova.xml"), io.LimitReader(zeros{}, 2048)), nil)
		return err
	},
	"import of metadata": func(ctx context.Context, c *xapi.Client) error {
		_, err := c.ImportMetadata(ctx, 3, strings.NewReader("abc"), nil)
		return err
	},
}

// downloading reads an export to its end.
func downloading(open func(context.Context, *xapi.Client) (*xapi.Download, error)) func(context.Context, *xapi.Client) error {
	return func(ctx context.Context, c *xapi.Client) error {
		d, err := open(ctx, c)
		if err != nil {
			return err
		}
		if text := fmt.Sprintf("%+v %#v", d, d); strings.Contains(text, mark) {
			return errors.New("a download shows " + text)
		}
		return errors.Join(d.Finish(ctx), d.Close())
	}
}

// lockedBuffer is a log that goroutines share.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// TestSecretsTravelInBodiesAndQueriesOnly: no header and no path carries one, and a foreign host sees nothing at all.
func TestSecretsTravelInBodiesAndQueriesOnly(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.handle("host.get_all_records", func([]any) (any, []string) { return map[string]any{}, nil })
	foreign, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = foreign.Close() })
	visited := make(chan string, 1)
	go func() {
		conn, err := foreign.Accept()
		if err != nil {
			return // the test is over
		}
		line, _ := bufio.NewReader(conn).ReadString('\n')
		visited <- line
	}()
	var heads []string
	s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heads = append(heads, fmt.Sprint(r.Header, r.URL.Path, r.Host))
		if r.Method == http.MethodGet {
			http.Redirect(w, r, "http://localhost:"+strings.Split(foreign.Addr().String(), ":")[1]+"/x?"+r.URL.RawQuery, http.StatusFound)
			return
		}
		s.mux.ServeHTTP(w, r)
	}))
	c := s.dial(t, func(o *xapi.Options) { o.CancelTimeout = time.Second })
	_, err = c.ExportVDI(t.Context(), "OpaqueRef:vdi", nil)
	require.ErrorIs(t, err, xapi.ErrProtocol)
	for _, head := range heads {
		require.NotContains(t, head, sessionMark)
		require.NotContains(t, head, password)
	}
	require.Empty(t, visited)
	require.True(t, errors.Is(err, xapi.ErrProtocol))
}
