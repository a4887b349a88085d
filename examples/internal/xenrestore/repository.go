package xenrestore

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/secrets"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/all"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// The environment variables of a repository.
const (
	envRemote = "XENBACKUP_REMOTE"
	envKey    = "XENBACKUP_REMOTE_KEY"
)

// location says which repository, and how to log what happens to it.
type location struct {
	url, keyFile string
	verbose      bool
}

func declareLocation(flags *flag.FlagSet) *location {
	l := &location{}
	flags.StringVar(&l.url, "remote", "", "`URL` of the repository: file:///srv/backups, nfs://host/export/path, smb://user@host/share/path, or as Xen Orchestra writes it (default: $"+envRemote+")")
	flags.StringVar(&l.keyFile, "key-file", "", "`file` with the key of an encrypted repository (default: $"+envKey+", or the file $"+envKey+"_FILE)")
	flags.BoolVar(&l.verbose, "verbose", false, "log what happens to the storage")
	return l
}

// repository is an open one.
type repository struct {
	*catalog.Catalog
	fsys remote.Filesystem
}

// Close closes it.
func (r *repository) Close() error { return r.fsys.Close() }

// open opens the repository.
func (l *location) open(ctx context.Context, std *command.Streams) (*repository, error) {
	fsys, key, err := l.storage(ctx, std, false)
	if err != nil {
		return nil, err
	}
	cat, err := catalog.Open(ctx, fsys, &catalog.Options{Key: key, Logger: l.logger(std)})
	if err != nil {
		return nil, errors.Join(err, fsys.Close())
	}
	return &repository{Catalog: cat, fsys: fsys}, nil
}

// storage opens what the repository lies on, and finds its key. create makes the
// directory.
func (l *location) storage(ctx context.Context, std *command.Streams, create bool) (remote.Filesystem, remote.Secret, error) {
	if l.url == "" {
		l.url = os.Getenv(envRemote)
	}
	if l.url == "" {
		return nil, "", command.UsageError("-remote is needed: the URL of a repository, such as file:///srv/backups")
	}
	key, err := secrets.Find(l.keyFile, envKey)
	if err != nil {
		return nil, "", fmt.Errorf("key of the repository: %w", err)
	}
	url, opts := l.url, &remote.Options{Create: create, Logger: l.logger(std)}
	if isXOURL(url) {
		xo, err := remote.ParseXO(url)
		if err != nil {
			return nil, "", err
		}
		url, opts = xo.URL, xo.Options(opts)
	}
	fsys, err := all.Opener().Open(ctx, url, opts)
	if err != nil {
		return nil, "", err
	}
	return fsys, remote.Secret(key), nil
}

// isXOURL tells Xen Orchestra's form of a URL, where it is another one than ours:
// smb://user:password@domain\\host\share, nfs://host:port:/path.
func isXOURL(url string) bool {
	rest, nfs := strings.CutPrefix(url, "nfs://")
	host, _, _ := strings.Cut(rest, "/")
	return strings.Contains(url, `\`) || nfs && strings.HasSuffix(host, ":")
}

func (l *location) logger(std *command.Streams) *slog.Logger {
	if !l.verbose {
		return nil
	}
	return slog.New(slog.NewTextHandler(std.Err, nil))
}
