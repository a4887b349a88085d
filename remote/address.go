package remote

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The environment variables that [ParseAddress] reads for what neither options
// nor URL say.
const (
	EnvUsername = "XENBACKUP_REMOTE_USERNAME"
	EnvPassword = "XENBACKUP_REMOTE_PASSWORD"
	EnvDomain   = "XENBACKUP_REMOTE_DOMAIN"
)

// Address is the URL of a directory on a server, taken apart:
//
//	scheme://[[domain;]username[:password]@]host[:port][/share[/folder...]][?key=value...]
//
// Reserved characters are percent-encoded, an IPv6 address stands in brackets.
type Address struct {
	Scheme string
	Host   string // a name or an address, without brackets
	Port   int    // 0: the scheme's own

	Domain   string
	Username string
	Password Secret

	// Path has no slash at either end and no "." or ".." in it; it is empty for
	// the server's root.
	Path string
	// Query holds what is specific to the back end.
	Query url.Values
}

// ParseAddress takes a URL apart for an [OpenFunc]. Username, password and domain
// are those of opts, which may be nil; what is empty there is the URL's, and what
// it lacks too is that of the environment: XENBACKUP_REMOTE_USERNAME, _PASSWORD,
// _DOMAIN. A password is only ever combined with the username of its own source,
// or of one before it.
//
// Backslashes in the path are slashes, since no share can have them in a name. A
// key of the query that is not among keys is refused, for a misspelt option must
// not be ignored. No error repeats a password.
func ParseAddress(u *url.URL, opts *Options, keys ...string) (*Address, error) {
	a := &Address{Scheme: strings.ToLower(u.Scheme), Host: u.Hostname()}
	if !validHost(a.Host) || u.Opaque != "" {
		return nil, fmt.Errorf("a host is needed, as in %s://host/share/folder", a.Scheme)
	}
	if u.Fragment != "" {
		return nil, errors.New("percent-encode # in names and passwords as %23")
	}
	if p := u.Port(); p != "" {
		port, err := strconv.ParseUint(p, 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("port %s is not one of 1 to 65535", p)
		}
		a.Port = int(port)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("malformed options after the question mark")
	}
	for key := range query {
		if !slices.Contains(keys, key) {
			return nil, fmt.Errorf("unknown option %q (known: %s)", key, strings.Join(keys, ", "))
		}
	}
	a.Query = query
	if a.Path, err = cleanPath(strings.ReplaceAll(u.Path, `\`, "/")); err != nil {
		return nil, err
	}
	a.login(u.User, opts)
	return a, nil
}

// hostName is a name as DNS, NetBIOS and /etc/hosts have them.
var hostName = regexp.MustCompile(`^[\pL\pN_][\pL\pN._-]*$`)

// validHost takes a name, an IPv4 address, or an IPv6 address without brackets.
func validHost(host string) bool {
	if strings.Contains(host, ":") {
		_, err := netip.ParseAddr(host)
		return err == nil
	}
	return hostName.MatchString(host)
}

func cleanPath(p string) (string, error) {
	if strings.ContainsRune(p, 0) {
		return "", errors.New("a NUL in the path")
	}
	if slices.Contains(strings.Split(p, "/"), "..") {
		return "", errors.New(`".." in the path`)
	}
	return strings.TrimPrefix(path.Clean("/"+p), "/"), nil
}

// login gathers the credentials from the strongest source to the weakest.
func (a *Address) login(u *url.Userinfo, opts *Options) {
	if opts != nil {
		a.take(opts.Domain, opts.Username, string(opts.Password))
	}
	password, _ := u.Password()
	user := u.Username()
	domain, name, ok := strings.Cut(user, ";")
	if !ok {
		domain, name = "", user
	}
	a.take(domain, name, password)
	a.take(os.Getenv(EnvDomain), os.Getenv(EnvUsername), os.Getenv(EnvPassword))
}

// take fills what is empty from one source, but not the password of one user for
// another.
func (a *Address) take(domain, username, password string) {
	if a.Username == "" {
		a.Username = username
	} else if username != "" && username != a.Username {
		return
	}
	if a.Password == "" {
		a.Password = Secret(password)
	}
	if a.Domain == "" {
		a.Domain = domain
	}
}

// Share is the first element of Path, and folder the rest: both without slashes
// at their ends, and empty when there is none.
func (a *Address) Share() (share, folder string) {
	share, folder, _ = strings.Cut(a.Path, "/")
	return share, folder
}

// HostPort is what to dial, given the scheme's own port.
func (a *Address) HostPort(port int) string {
	if a.Port != 0 {
		port = a.Port
	}
	return net.JoinHostPort(a.Host, strconv.Itoa(port))
}

// String is the URL without the password and without the query.
func (a *Address) String() string {
	u := url.URL{Scheme: a.Scheme, Host: a.Host, Path: "/" + a.Path}
	if strings.Contains(a.Host, ":") {
		u.Host = "[" + a.Host + "]"
	}
	if a.Port != 0 {
		u.Host = net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
	}
	if a.Username != "" {
		user := a.Username
		if a.Domain != "" {
			user = a.Domain + ";" + user
		}
		u.User = url.User(user)
	}
	return u.String()
}
