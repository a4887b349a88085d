package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// XORemote is a remote as Xen Orchestra writes it, in our terms.
type XORemote struct {
	// URL is for [Opener.Open]. It has no password.
	URL string
	// Password logs in: see [XORemote.Options].
	Password Secret
	// Settings are the options in the URL, such as useVhdDirectory, each in JSON.
	// Some, such as encryptionKey, are secret.
	Settings map[string]Secret
}

// Options returns a copy of opts, which may be nil, with the password.
func (r *XORemote) Options(opts *Options) *Options {
	out := &Options{}
	if opts != nil {
		*out = *opts
	}
	if r.Password != "" {
		out.Password = r.Password
	}
	return out
}

// ParseXO takes the URL of a remote of Xen Orchestra:
//
//	file:///srv/backups
//	nfs://host:/export/path and nfs://host:port:/export/path
//	smb://user:password@domain\\host\share + NUL + sub\folder
//
// Nothing in them is percent-encoded. In the last, the share may also come after
// the NUL, the folder is optional, and a "@" or ":" in the password is no harm: the
// last "@" and the first ":" count. A slash or backslash that a path should begin
// with is added. Each may end in "?key=json&key=json". Other schemes are
// [errors.ErrUnsupported]. No error repeats the URL, for it may hold a password.
func ParseXO(raw string) (*XORemote, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil, errors.New("remote: a remote of Xen Orchestra begins with file://, nfs:// or smb://")
	}
	r := &XORemote{}
	var u *url.URL
	var err error
	switch scheme {
	case "file":
		rest, r.Settings = cutSettings(rest, 0)
		u, err = xoFile(rest)
	case "nfs":
		rest, r.Settings = cutSettings(rest, 0)
		u, err = xoNFS(rest)
	case "smb":
		rest, r.Settings = cutSettings(rest, strings.LastIndexByte(rest, '@')+1)
		u, r.Password, err = xoSMB(rest)
	default:
		return nil, fmt.Errorf("remote: %w: remotes of Xen Orchestra of type %.20q", errors.ErrUnsupported, scheme)
	}
	if err != nil {
		return nil, fmt.Errorf("remote: %s remote of Xen Orchestra: %w", scheme, err)
	}
	r.URL = u.String()
	return r, nil
}

// settingKey is what a key of the option list looks like. What follows a question
// mark and does not, or has a value that is not JSON, is part of the path.
var settingKey = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// cutSettings takes the option list off the end, looking for it from an offset on.
func cutSettings(s string, from int) (rest string, settings map[string]Secret) {
	i := strings.IndexByte(s[from:], '?')
	if i < 0 {
		return s, nil
	}
	settings = map[string]Secret{}
	for pair := range strings.SplitSeq(s[from+i+1:], "&") {
		key, value, ok := strings.Cut(pair, "=")
		value, err := url.QueryUnescape(value)
		if !ok || err != nil || !settingKey.MatchString(key) || !json.Valid([]byte(value)) {
			return s, nil
		}
		settings[key] = Secret(value)
	}
	return s[:from+i], settings
}

func xoFile(rest string) (*url.URL, error) {
	p, err := cleanPath(rest)
	if err != nil {
		return nil, err
	}
	if p == "" {
		return nil, errors.New("a path is needed")
	}
	return &url.URL{Scheme: "file", Path: "/" + p}, nil
}

// nfsRest is host, port and path; the host may be an IPv6 address in brackets.
var nfsRest = regexp.MustCompile(`^(\[[0-9A-Fa-f:.%]+\]|[^\]\[:/?#@\s]+)(?::(?:(\d+):?)?)?(/.*|[^/:]*)$`)

func xoNFS(rest string) (*url.URL, error) {
	m := nfsRest.FindStringSubmatch(rest)
	if m == nil {
		return nil, errors.New("host:/path or host:port:/path is needed")
	}
	p, err := cleanPath(m[3])
	if err != nil {
		return nil, err
	}
	return serverURL("nfs", strings.Trim(m[1], "[]"), m[2], p)
}

// xoSMB: user:password@domain\\host\share NUL folder.
func xoSMB(rest string) (*url.URL, Secret, error) {
	at := strings.LastIndexByte(rest, '@')
	login, place := rest[:max(at, 0)], rest[at+1:]
	username, password, _ := strings.Cut(login, ":")
	domain, server, ok := strings.Cut(place, `\\`)
	if !ok {
		return nil, "", errors.New(`domain\\host is needed`)
	}
	server = strings.ReplaceAll(strings.ReplaceAll(server, "\x00", "/"), `\`, "/")
	host, share, _ := strings.Cut(server, "/")
	p, err := cleanPath(share)
	if err != nil {
		return nil, "", err
	}
	if strings.ContainsAny(domain+username, ";") {
		return nil, "", errors.New("a semicolon in the user or domain")
	}
	host, port := cutPort(host)
	u, err := serverURL("smb", host, port, p)
	if err != nil {
		return nil, "", err
	}
	if username != "" {
		user := username
		if domain != "" {
			user = domain + ";" + username
		}
		u.User = url.User(user)
	}
	return u, Secret(password), nil
}

func cutPort(host string) (name, port string) {
	if name, port, err := net.SplitHostPort(host); err == nil {
		return name, port
	}
	return strings.Trim(host, "[]"), ""
}

// serverURL is the URL that ParseAddress takes apart again.
func serverURL(scheme, host, port, p string) (*url.URL, error) {
	if !validHost(host) {
		return nil, errors.New("no usable host in it")
	}
	u := &url.URL{Scheme: scheme, Host: host, Path: "/" + p}
	if strings.Contains(host, ":") {
		u.Host = "[" + host + "]"
	}
	if port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("the port is not one of 1 to 65535")
		}
		u.Host += ":" + port
	}
	return u, nil
}
