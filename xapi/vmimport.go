package xapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
)

// UnknownLength is for [Client.ImportVM] when nobody knows how long the archive is.
const UnknownLength = -1

// ImportVMOptions of [Client.ImportVM]; nil and zero fields mean the default.
type ImportVMOptions struct {
	SR      Ref[SR] // where disks go; default the pool's default SR
	Restore bool    // keep uuid and MAC addresses; an older VM with this uuid that is halted is replaced
	Force   bool    // keep what could be imported when something fails, and do not insist on checksums
	Name    string  // of the pool's task
}

// ImportVM makes VMs of an XVA archive, plain or compressed, and returns them when the pool has reported success. length is the exact
// size of the archive in bytes, or UnknownLength for one that is not compressed: others are refused with ErrLengthRequired, because
// their end cannot be told, and an archive that ends early is then recognised by its last bytes.
//
// The pool checks the archive as it reads, and removes what it has made of one that is broken. It hangs up when it has every disk,
// without reading what follows: then the end of body may be unread after success.
//
// What is said of body and of errors at ImportVDI holds here too; a success that made no VM is ErrProtocol. References that come with an error are VMs that exist all the same:
// the pool was done before it could be stopped.
func (c *Client) ImportVM(ctx context.Context, length int64, body io.Reader, opts *ImportVMOptions) ([]Ref[VM], error) {
	if opts == nil {
		opts = &ImportVMOptions{}
	}
	query := url.Values{}
	if !opts.SR.IsNull() {
		query.Set("sr_id", string(opts.SR))
	}
	setFlag(query, "restore", opts.Restore)
	setFlag(query, "force", opts.Force)
	return c.importVMs(ctx, "import of a VM", opts.Name, "import", query, length, body)
}

// importVMs uploads an archive whose task results in VMs.
func (c *Client) importVMs(
	ctx context.Context, what, name, path string, query url.Values, length int64, body io.Reader,
) ([]Ref[VM], error) {
	if length <= 0 && length != UnknownLength {
		return nil, fmt.Errorf("xapi: %s: length %d is not positive", what, length)
	}
	var vms []Ref[VM]
	err := c.upload(ctx, what, name, path, query, func() *upload {
		up := newUpload(body, length)
		up.partial = true
		return up
	}, &vms)
	vms = slices.DeleteFunc(vms, Ref[VM].IsNull)
	if err == nil && len(vms) == 0 && !query.Has("dry_run") {
		return nil, hostError(c.Host(), ErrProtocol, errors.New(what+": success, but no VM was made"))
	}
	return vms, err
}

// setFlag sets a query parameter that hosts compare with the text true.
func setFlag(query url.Values, name string, on bool) {
	if on {
		query.Set(name, "true")
	}
}
