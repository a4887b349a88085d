package xapitest

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// handler answers one HTTP request.
type handler func(ctx context.Context, x *exchange)

// routes lists the handlers by method and path. The longest path that begins the
// path of a request decides, so that /RPC2 and /xmlrpc end up at / as well.
func (p *Pool) routes() map[string]map[string]handler {
	status := func(code int) handler {
		return func(_ context.Context, x *exchange) { x.html(code) }
	}
	post := map[string]handler{"/": p.postXML, "/RPC2": p.postXML}
	if !p.options.NoJSONRPC {
		post["/jsonrpc"], post["/json"] = p.postJSON, p.postJSON
	}
	return map[string]map[string]handler{
		http.MethodPost: post,
		http.MethodGet: {
			"/":               status(http.StatusNotFound),
			"/export_raw_vdi": p.transferred(p.getExport),
			"/export":         p.transferred(p.getVM), "/export_metadata": p.transferred(p.getMetadata),
			"/pool/xmldbdump": p.transferred(p.getDump),
		},
		http.MethodPut: {
			"":                status(http.StatusForbidden),
			"/import_raw_vdi": p.transferred(p.putImport),
			"/import":         p.transferred(p.putVM), "/import_metadata": p.transferred(p.putMetadata),
			"/pool/xmldbdump": p.transferred(p.putDump),
		},
		http.MethodOptions: {"": func(_ context.Context, x *exchange) {
			x.respond(http.StatusOK, "text/plain", nil, crossOrigin()...)
		}},
	}
}

func crossOrigin() []string {
	return []string{"Access-Control-Allow-Origin: *", "Access-Control-Allow-Headers: X-Requested-With, Content-Type"}
}

// route answers one HTTP request as the path and method say.
func (p *Pool) route(ctx context.Context, x *exchange) {
	handlers, ok := p.paths[x.req.Method]
	if !ok {
		x.html(http.StatusNotImplemented)
		return
	}
	best := ""
	for path := range handlers {
		if strings.HasPrefix(x.req.URL.Path, path) && len(path) > len(best) {
			best = path
		}
	}
	if answer, ok := handlers[best]; ok {
		answer(ctx, x)
		return
	}
	x.html(http.StatusNotFound)
}

// transferred wraps the handler of a transfer: it is sent to a host that sees
// the repositories of its objects, and it ends when the pool is closed, before
// Close looks for leaks.
func (p *Pool) transferred(serve handler) handler {
	return func(ctx context.Context, x *exchange) {
		if p.redirect(x) {
			return
		}
		p.mu.Lock()
		if p.transfers == nil { // closing
			p.mu.Unlock()
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		p.transfers[x] = cancel
		p.moving.Add(1)
		p.mu.Unlock()
		defer func() {
			p.mu.Lock()
			delete(p.transfers, x)
			p.mu.Unlock()
			p.moving.Done()
		}()
		serve(ctx, x)
	}
}

// endTransfers ends all transfers, for good.
func (p *Pool) endTransfers() {
	p.mu.Lock()
	for _, cancel := range p.transfers {
		cancel()
	}
	p.transfers = nil
	p.mu.Unlock()
	p.moving.Wait()
}

// redirect answers with the address of another host when this one cannot see
// the repositories that the query names and another can. The task is left alone.
func (p *Pool) redirect(x *exchange) bool {
	if !p.authorized(x.req) {
		return false // the handler refuses it
	}
	srs := p.repositories(x.req.URL.Query())
	if len(srs) == 0 || p.sees(x.host, srs) {
		return false
	}
	hosts := slices.Clone(p.hosts)
	slices.SortStableFunc(hosts, func(a, b string) int {
		if a == p.masterRef() {
			return -1
		}
		return 0
	})
	for _, host := range hosts {
		if p.sees(host, srs) {
			x.respond(http.StatusFound, "text/html", nil, "Location: "+p.doors[slices.Index(p.hosts, host)].url()+x.req.URL.RequestURI())
			return true
		}
	}
	return false
}

// sees says whether a host has a plugged PBD of each repository.
func (p *Pool) sees(host string, srs []string) bool {
	plugged := p.recordsWhere("PBD", func(r record) bool { return r.str("host") == host && r.bool("currently_attached") })
	for _, sr := range srs {
		if !slices.ContainsFunc(slices.Collect(maps.Values(plugged)), func(r record) bool { return r.str("SR") == sr }) {
			return false
		}
	}
	return true
}

// repositories returns where the objects are that the query of a transfer names:
// a disk, a repository, or a virtual machine with its disks.
func (p *Pool) repositories(query url.Values) (srs []string) {
	if _, vdi, err := p.db.byRefOrUUID("VDI", query.Get("vdi")); err == nil {
		return []string{vdi.str("SR")}
	}
	if ref, _, err := p.db.byRefOrUUID("SR", query.Get("sr_id")+query.Get("sr_uuid")); err == nil {
		return []string{ref}
	}
	_, vm, err := p.db.byRefOrUUID("VM", query.Get("ref")+query.Get("uuid"))
	if err != nil {
		return nil
	}
	for _, ref := range vm.set("VBDs") {
		vbd, err := p.db.record("VBD", ref)
		if err != nil || vbd.str("type") != "Disk" {
			continue
		}
		if vdi, err := p.db.record("VDI", vbd.str("VDI")); err == nil && !slices.Contains(srs, vdi.str("SR")) {
			srs = append(srs, vdi.str("SR"))
		}
	}
	return srs
}

func (p *Pool) postJSON(ctx context.Context, x *exchange) {
	p.postCall(ctx, x, "application/json", p.serveJSON)
}

func (p *Pool) postXML(ctx context.Context, x *exchange) {
	p.postCall(ctx, x, "text/xml", p.serveXML)
}

// postCall runs a call. Bodies need a length, and chunked ones are not
// understood at all.
func (p *Pool) postCall(
	ctx context.Context, x *exchange, contentType string,
	serve func(ctx context.Context, in *incoming, body []byte) ([]byte, error),
) {
	length, ok := x.length()
	if !ok || length > maxRPCBody {
		x.html(http.StatusInternalServerError)
		return
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(x.body, body); err != nil {
		x.keep = false
		return
	}
	in := &incoming{host: x.host}
	answer, err := serve(ctx, in, body)
	switch {
	case in.fault != nil && in.fault.reply != nil:
		x.replace(ctx, in.fault.reply)
	case errors.Is(err, errNoAnswer):
		x.keep = false
	case err != nil:
		x.html(http.StatusInternalServerError)
	case in.fault != nil:
		p.breakAnswer(ctx, x, in.fault, func() { x.respond(http.StatusOK, contentType, answer, crossOrigin()...) })
	default:
		x.respond(http.StatusOK, contentType, answer, append(crossOrigin(), p.thumbprint(x)...)...)
	}
}

// thumbprint is a header with that of the master's certificate, by which a client
// that a slave refers there may know it, when the client has asked for it.
func (p *Pool) thumbprint(x *exchange) []string {
	master := p.doors[p.masterIndex()].certificate
	if x.host == p.masterRef() || master == nil {
		return nil
	}
	var sum []byte
	switch x.req.Header.Get("X-Xenapi-Request-Host-Certificate-Thumbprint") {
	case "sha-256:master":
		s := sha256.Sum256(master.Raw)
		sum = s[:]
	case "sha-1:master":
		s := sha1.Sum(master.Raw)
		sum = s[:]
	default:
		return nil
	}
	digits := make([]string, 0, len(sum))
	for _, b := range sum {
		digits = append(digits, hex.EncodeToString([]byte{b}))
	}
	return []string{"X-Xenapi-Response-Host-Certificate-Thumbprint: " + strings.Join(digits, ":")}
}

// breakAnswer lets as much of an answer out as the fault says.
func (p *Pool) breakAnswer(ctx context.Context, x *exchange, f *fault, answer func()) {
	conn := x.conn
	limited := &limitedConn{Conn: conn, left: f.after}
	x.conn = limited
	answer()
	x.conn = conn
	if limited.left > 0 {
		return // shorter than that
	}
	p.faults.broke(f)
	x.keep = false
	switch f.how {
	case Reset:
		x.reset()
	case Stall:
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		_, _ = conn.Read(make([]byte, 1)) // until the client leaves
	case ErrorPage:
		x.html(http.StatusInternalServerError)
	case Cut:
	}
}
