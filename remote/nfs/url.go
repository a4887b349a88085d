package nfs

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	"github.com/xenbackup/xenbackup/remote"
)

// OpenURL is the [remote.OpenFunc] of the scheme nfs:
//
//	nfs://host[:port]/export/path[?uid=1000&gid=1000&mountport=20048]
//
// The path is that of an export or of a folder below one. uid and gid are those
// of [Credential], without further groups; each alone leaves the other one the
// process's.
func OpenURL(ctx context.Context, u *url.URL, opts *remote.Options) (remote.Filesystem, error) {
	a, err := remote.ParseAddress(u, opts, "uid", "gid", "mountport")
	if err != nil {
		return nil, err
	}
	if u.User != nil {
		return nil, errors.New("NFS knows no user names: give ?uid= and &gid=")
	}
	o := &Options{Options: *opts, Port: a.Port}
	if a.Query.Has("uid") || a.Query.Has("gid") {
		c := ProcessCredential()
		c.Groups = nil
		if err := errors.Join(number(a.Query, "uid", &c.UID), number(a.Query, "gid", &c.GID)); err != nil {
			return nil, err
		}
		o.Credential = c
	}
	var port uint32
	if err := number(a.Query, "mountport", &port); err != nil {
		return nil, err
	}
	if port > 65535 {
		return nil, fmt.Errorf("mountport %d is not one of 1 to 65535", port)
	}
	o.MountPort = int(port)
	fsys, err := Open(ctx, a.Host, "/"+a.Path, o)
	if err != nil {
		return nil, err // not fsys: a nil *FS would be a non-nil Filesystem
	}
	return fsys, nil
}

// number sets v when the query has the key.
func number(q url.Values, key string, v *uint32) error {
	if !q.Has(key) {
		return nil
	}
	n, err := strconv.ParseUint(q.Get(key), 10, 32)
	if err != nil {
		return fmt.Errorf("%s=%s is not a number of 32 bits", key, q.Get(key))
	}
	*v = uint32(n)
	return nil
}
