package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// OpenFunc opens the Filesystem at a URL of one scheme; opts is never nil. One of
// a server takes the URL apart with [ParseAddress], makes connections with
// [Options.Dial], and tells with an [UnreachableError] what it could not reach.
// The Filesystem outlives ctx. Errors must not repeat a password of the URL, nor
// may a String method of the Filesystem: [Address] prints without.
type OpenFunc func(ctx context.Context, u *url.URL, opts *Options) (Filesystem, error)

// Opener opens Filesystems by URL. It knows the schemes it is given and no
// others: there is no registry that packages add themselves to. Package
// remote/all makes one with every scheme of this module.
type Opener struct {
	Schemes map[string]OpenFunc // by lower-case scheme, such as "file"
}

// Open opens the Filesystem at rawURL. opts may be nil. Whoever opens closes.
func (o *Opener) Open(ctx context.Context, rawURL string, opts *Options) (Filesystem, error) {
	if opts == nil {
		opts = &Options{}
	}
	scheme, _, ok := strings.Cut(rawURL, ":")
	if !ok || strings.Contains(scheme, "/") {
		return nil, fmt.Errorf("remote: %w: a URL is needed, such as file:///srv/backups; this one has no scheme (known: %s)",
			errors.ErrUnsupported, o.known())
	}
	open, ok := o.Schemes[strings.ToLower(scheme)]
	if !ok {
		return nil, fmt.Errorf("remote: %w: scheme %q (known: %s)", errors.ErrUnsupported, scheme, o.known())
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		// The parser's error quotes the URL, and with it a password.
		return nil, fmt.Errorf("remote: malformed %s URL: reserved characters in names and passwords must be percent-encoded", scheme)
	}
	fsys, err := open(ctx, u, opts)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", u.Redacted(), err)
	}
	if opts.ID != "" {
		if err := CheckIdentity(ctx, fsys, opts.ID); err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", u.Redacted(), err), fsys.Close())
		}
	}
	return fsys, nil
}

func (o *Opener) known() string {
	return strings.Join(slices.Sorted(maps.Keys(o.Schemes)), ", ")
}
