// Package all opens repositories by URL, with every back end of this module.
//
//	file:///srv/backups    a directory of this machine (package local)
//
// It is a package of its own so that who needs one back end does not link all of
// them, and so that package remote imports none.
package all

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
)

// Opener knows the schemes of the package documentation. Each call returns a new
// one; add schemes of your own to its map.
func Opener() *remote.Opener {
	return &remote.Opener{Schemes: map[string]remote.OpenFunc{"file": openFile}}
}

// openFile takes the spellings that Xen Orchestra takes: file:///srv/backups, and
// file://srv/backups, to which a slash is added.
func openFile(_ context.Context, u *url.URL, opts *remote.Options) (remote.Filesystem, error) {
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("a file URL is file:// and a path, such as file:///srv/backups; percent-encode ?, # and @ in it")
	}
	dir := u.Path
	if u.Host != "localhost" {
		dir = u.Host + dir
	}
	if u.Opaque != "" {
		dir = u.Opaque
	}
	if dir == "" {
		return nil, errors.New("a file URL needs a path, such as file:///srv/backups")
	}
	return openDir(dir, opts)
}

func openDir(dir string, opts *remote.Options) (remote.Filesystem, error) {
	dir = filepath.FromSlash(dir)
	if !filepath.IsAbs(dir) {
		dir = string(filepath.Separator) + dir
	}
	fsys, err := local.Open(dir, &local.Options{Create: opts.Create})
	if err != nil {
		return nil, err // not fsys: a nil *local.FS would be a non-nil Filesystem
	}
	return fsys, nil
}
