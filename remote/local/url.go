package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strconv"

	"github.com/xenbackup/xenbackup/remote"
)

var _ remote.OpenFunc = OpenURL

// OpenURL opens a directory by URL, for the Schemes of a [remote.Opener]:
//
//	file:///srv/backups
//	file:///mnt/usb/backups?mounted=true
//
// file://srv/backups is the first one too: a slash is added, as Xen Orchestra
// does. "mounted" is [Options].Mounted. A directory that is not there, or not
// mounted, is a [remote.UnreachableError] about the folder.
func OpenURL(_ context.Context, u *url.URL, opts *remote.Options) (remote.Filesystem, error) {
	if u.User != nil || u.Fragment != "" {
		return nil, errors.New("a file URL is file:// and a path, such as file:///srv/backups; percent-encode ?, # and @ in it")
	}
	o := &Options{Create: opts.Create}
	for key, values := range u.Query() {
		mounted, err := strconv.ParseBool(values[0])
		if key != "mounted" || err != nil {
			return nil, fmt.Errorf("unknown option %q, or its value is neither true nor false (known: mounted); percent-encode ? in a path", key)
		}
		o.Mounted = mounted
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
	dir = filepath.FromSlash(dir)
	if !filepath.IsAbs(dir) {
		dir = string(filepath.Separator) + dir
	}
	fsys, err := Open(dir, o)
	if err != nil {
		if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
			err = pathErr.Err
		}
		return nil, &remote.UnreachableError{Part: remote.PartFolder, Name: dir, Err: err}
	}
	return fsys, nil
}
