package xapitest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

// Reply is an answer that takes the place of the pool's own: that of a proxy in
// front of it, of a web server at its address, or of a host that points elsewhere.
type Reply struct {
	Status int               // 0 is 200
	Header map[string]string // Content-Type is text/html unless it is here
	Body   string
	// Redirect adds a Location: this place, scheme and host, with the path and query
	// of the request, as hosts point at each other. They go with a 302.
	Redirect string
	// Pause is how long the answer waits before each line of its header.
	Pause time.Duration
	// Done says that the call was done: its answer alone is replaced. Else it is not
	// run. The task of a transfer is left alone, pending.
	Done bool
}

// Reply answers a call, or a transfer ("GET /export_raw_vdi"), with something else.
// A call is struck as the request arrives, so that an asynchronous one gets no
// task, unless Reply.Done says so; "*" is every call with a session. The transfer
// was authorised, and is not begun. Connections stay open.
func (p *Pool) Reply(request string, when When, reply Reply) {
	reply.Header = maps.Clone(reply.Header)
	p.faults.add(&fault{method: request, when: when, reply: &reply})
}

// replace writes a reply in place of the answer to a request.
func (x *exchange) replace(ctx context.Context, r *Reply) {
	status := cmp.Or(r.Status, http.StatusOK)
	header := map[string]string{"Content-Type": "text/html"}
	maps.Copy(header, r.Header)
	if r.Redirect != "" {
		header["Location"] = r.Redirect + x.req.URL.RequestURI()
	}
	header["Content-Length"] = itoa(len(r.Body))
	lines := []string{fmt.Sprintf("HTTP/1.1 %d %s\r\n", status, http.StatusText(status))}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		lines = append(lines, name+": "+header[name]+"\r\n")
	}
	lines = append(lines, "\r\n"+r.Body)
	var unsent bytes.Buffer
	for _, line := range lines {
		unsent.WriteString(line)
		if r.Pause > 0 {
			if wait(ctx, r.Pause) != nil || !x.write(&unsent) {
				x.keep = false
				return
			}
		}
	}
	x.keep = x.write(&unsent) && x.keep
}

// write sends what is in the buffer, if anything.
func (x *exchange) write(b *bytes.Buffer) bool {
	_, err := b.WriteTo(x.conn)
	return err == nil
}
