package config

import (
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/all"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// Remote is a repository.
type Remote struct {
	URL      string  `yaml:"url"` // of package remote/all
	Username string  `yaml:"username"`
	Password *Secret `yaml:"password"`
	Domain   string  `yaml:"domain"`
	Key      *Secret `yaml:"key"` // of one that is encrypted

	// XO is the id that Xen Orchestra has for it: by this, jobs written there name it.
	XO string `yaml:"xo"`
	// AppendOnly never removes anything from it, whatever retention says.
	AppendOnly bool `yaml:"append_only"`
}

func (j *judge) remotes(c *Config, folder string) {
	schemes := slices.Sorted(maps.Keys(all.Opener().Schemes))
	for name, r := range c.Remotes {
		where := []string{"remotes", name}
		if !j.named(name, r == nil, "remotes") {
			continue
		}
		u, err := url.Parse(r.URL)
		switch {
		case r.URL == "":
			j.wrong("needed, such as file:///srv/backups, nfs://HOST/EXPORT or smb://USER@HOST/SHARE", append(where, "url")...)
		case err != nil:
			j.wrong("not a URL", append(where, "url")...) // unquoted: it may hold a password
		case !slices.Contains(schemes, strings.ToLower(u.Scheme)):
			j.wrong(fmt.Sprintf("scheme %q: only %s", u.Scheme, strings.Join(schemes, ", ")), append(where, "url")...)
		case hasPassword(u):
			j.wrong("a password does not belong into the URL: use password: {env: NAME} or {file: PATH}", append(where, "url")...)
		}
		for key, s := range map[string]*Secret{"password": r.Password, "key": r.Key} {
			if s != nil {
				s.File = from(folder, s.File)
				j.secret(s, append(where, key)...)
			}
		}
		for other, o := range c.Remotes {
			if other < name && o != nil && o.URL == r.URL {
				j.warn("the same as "+other+": jobs that write to both wait for each other's lock", append(where, "url")...)
			}
		}
	}
}

func hasPassword(u *url.URL) bool {
	if u.User == nil {
		return false
	}
	_, has := u.User.Password()
	return has
}

// Options are what opens the storage. The password is read now.
func (r *Remote) Options(id string, log *slog.Logger) (*remote.Options, error) {
	opts := &remote.Options{ID: id, Username: r.Username, Domain: r.Domain, Logger: log}
	if r.Password != nil {
		text, err := r.Password.read()
		if err != nil {
			return nil, err
		}
		opts.Password = remote.Secret(text)
	}
	return opts, nil
}

// Catalog are the options of the catalog on it. The key is read now.
func (r *Remote) Catalog(log *slog.Logger) (*catalog.Options, error) {
	opts := &catalog.Options{Logger: log, AppendOnly: r.AppendOnly}
	if r.Key != nil {
		text, err := r.Key.read()
		if err != nil {
			return nil, err
		}
		opts.Key = remote.Secret(text)
	}
	return opts, nil
}

// Remote finds a repository by its name, or by the id that Xen Orchestra has for
// it. It returns the name too.
func (c *Config) Remote(id string) (string, *Remote) {
	if r := c.Remotes[id]; r != nil {
		return id, r
	}
	for name, r := range c.Remotes {
		if r != nil && r.XO == id && id != "" {
			return name, r
		}
	}
	return "", nil
}
