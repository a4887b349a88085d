package xapitest

import (
	"context"
	"io"
	"net/http"
	"strings"
)

// route answers one HTTP request as the path and method say.
func (p *Pool) route(ctx context.Context, x *exchange) {
	path := strings.TrimSuffix(x.req.URL.Path, "/")
	switch x.req.Method {
	case http.MethodPost:
		if path == "/jsonrpc" || path == "/json" {
			p.postJSON(ctx, x)
			return
		}
		x.html(http.StatusInternalServerError) // XML-RPC is not simulated
	case http.MethodGet:
		if path == "/export_raw_vdi" {
			p.getExport(ctx, x)
			return
		}
		x.html(http.StatusNotFound)
	case http.MethodPut:
		if path == "/import_raw_vdi" {
			p.putImport(ctx, x)
			return
		}
		x.html(http.StatusForbidden)
	case http.MethodOptions:
		x.respond(http.StatusOK, "text/plain", nil, "Access-Control-Allow-Origin: *", "Access-Control-Allow-Headers: X-Requested-With, Content-Type")
	default:
		x.html(http.StatusNotImplemented)
	}
}

// postJSON runs a JSON-RPC call. Bodies need a length, and chunked ones are not
// understood at all.
func (p *Pool) postJSON(ctx context.Context, x *exchange) {
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
	answer, err := p.serveJSON(ctx, body)
	if err != nil {
		x.html(http.StatusInternalServerError)
		return
	}
	x.respond(http.StatusOK, "application/json", answer, "Access-Control-Allow-Origin: *", "Access-Control-Allow-Headers: X-Requested-With, Content-Type")
}
