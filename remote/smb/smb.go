package smb

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

const (
	defaultPort = 445

	// busyWait is how long a file that another program has open is waited for.
	busyWait = 5 * time.Second

	gates = 64 // see FS.gate
)

// FS is a folder of an SMB share. It keeps a connection for names and, from the
// first file that is opened, another for files, and makes them again when they are
// lost. Files still open when it is closed become unusable.
type FS struct {
	link    *link  // for what concerns names: a lock is lost if that waits behind data
	files   *link  // for what concerns open files
	address string // without the password
	folder  string // with slashes; "" is the share itself
	busy    time.Duration
	logger  *slog.Logger

	// gates keep replacing a name, and putting back what a broken replacement left,
	// apart from each other: one of them by the hash of the name.
	gates      [gates]chan struct{}
	seed       maphash.Seed
	background sync.WaitGroup // replacements whose callers have gone
	settled    settled
}

var (
	_ remote.Filesystem    = (*FS)(nil)
	_ remote.NoReplacer    = (*FS)(nil)
	_ remote.SpaceReporter = (*FS)(nil)
	_ remote.Toucher       = (*FS)(nil)
	_ remote.TreeRemover   = (*FS)(nil)
)

// OpenURL is the [remote.OpenFunc] of smb://[domain;]user@host[:port]/share/folder.
// The option encrypt=require, after a question mark, refuses a server that does
// not encrypt.
func OpenURL(ctx context.Context, u *url.URL, opts *remote.Options) (remote.Filesystem, error) {
	a, err := remote.ParseAddress(u, opts, "encrypt")
	if err != nil {
		return nil, err
	}
	fsys, err := Open(ctx, a, opts)
	if err != nil {
		return nil, err // not fsys: a nil *FS would be a non-nil Filesystem
	}
	return fsys, nil
}

// Open connects to a share and looks for the folder in it. It makes one attempt;
// an error about what could not be reached is a *[remote.UnreachableError], whose
// Part says whether it is the host, the login, the share or the folder. Of opts,
// which may be nil, the credentials are not used: they are those of the address.
func Open(ctx context.Context, a *remote.Address, opts *remote.Options) (*FS, error) {
	share, folder := a.Share()
	d := &dialer{
		opts: opts, host: a.Host, hostPort: a.HostPort(defaultPort), share: share,
		credentials: credentials{domain: a.Domain, user: a.Username, password: string(a.Password)},
	}
	switch encrypt := a.Query.Get("encrypt"); encrypt {
	case "":
	case "require":
		d.encryptedOnly = true
	default:
		return nil, fmt.Errorf("encrypt=%s: only require is known", encrypt)
	}
	switch {
	case a.Username == "":
		return nil, &remote.UnreachableError{Part: remote.PartLogin, Name: `""`, Err: remote.MarkError(errors.New("a user is needed, as in smb://user@host/share"), fs.ErrInvalid)}
	case share == "" || strings.ContainsAny(share, invalidRunes):
		return nil, &remote.UnreachableError{Part: remote.PartShare, Name: fmt.Sprintf("%q", share), Err: remote.MarkError(errors.New("a share is needed, as in smb://user@host/share"), fs.ErrInvalid)}
	}
	f := &FS{
		link:    newLink(d.connect, opts.SilenceLimit(), opts.Log()),
		address: a.String(), busy: busyWait, logger: opts.Log(), seed: maphash.MakeSeed(),
	}
	f.files = newLink(d.connect, opts.SilenceLimit(), opts.Log())
	f.files.beside = f.link
	for i := range f.gates {
		f.gates[i] = make(chan struct{}, 1)
	}
	if err := f.enter(ctx, folder, opts != nil && opts.Create); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// enter makes the first session, and the folder the root.
func (f *FS) enter(ctx context.Context, folder string, create bool) error {
	if _, err := f.link.get(ctx); err != nil {
		return err
	}
	if folder == "" {
		return nil
	}
	err := error(nil)
	if create {
		err = remote.MkdirAll(ctx, f, folder)
	}
	if err == nil {
		var info fs.FileInfo
		if info, err = f.Stat(ctx, folder); err == nil && !info.IsDir() {
			err = syscall.ENOTDIR
		}
	}
	if err != nil {
		return &remote.UnreachableError{Part: remote.PartFolder, Name: folder, Err: bare(err)}
	}
	f.folder = folder
	return nil
}

// String is the address without the password.
func (f *FS) String() string { return f.address }

// Properties are those of every share: see the package documentation.
func (f *FS) Properties() remote.Properties {
	return remote.Properties{PipelineDepth: depth, IOSize: maxIO, InvalidRunes: invalidRunes}
}

// Close ends the connections. Replacements whose callers have gone get a few
// seconds to end.
func (f *FS) Close() error {
	done := make(chan struct{})
	go func() { // ends with the link at the latest
		f.background.Wait()
		close(done)
	}()
	timer := time.NewTimer(f.busy)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	f.link.close()
	f.files.close()
	<-done
	return nil
}

// dialer makes sessions.
type dialer struct {
	opts           *remote.Options
	host, hostPort string
	share          string
	credentials    credentials
	encryptedOnly  bool
}

// connect makes a session. A server that is short of memory, as small ones are while
// many log in, is asked again after a moment, and then again.
func (d *dialer) connect(ctx context.Context) (*session, error) {
	for pause := firstPause; ; pause *= 4 {
		s, short, err := d.connectOnce(ctx)
		if !short || pause > lastPause {
			return s, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

func (d *dialer) connectOnce(ctx context.Context) (s *session, short bool, err error) {
	conn, err := d.opts.Dial(ctx, d.hostPort)
	if err != nil {
		return nil, false, err
	}
	life, end := context.WithCancelCause(context.Background())
	w := newWire(conn, d.encryptedOnly, end)
	lib, err := d.login(ctx, life, w)
	if err != nil {
		end(err)
		w.abort()
		st, ok := statusOf(err)
		return nil, ok && st.short(), d.unreachable(ctx, err)
	}
	return newSession(life, end, lib, w, d.opts.SilenceLimit()), false, nil
}

// login is bounded by ctx, which the library honours while it waits for an answer;
// what it sends fits any buffer.
func (d *dialer) login(ctx, life context.Context, w *wire) (library, error) {
	defer context.AfterFunc(ctx, w.abort)()
	return guarded(func() (library, error) {
		lib, err := login(ctx, life, w, d.credentials, d.host, d.share)
		if err == nil && d.encryptedOnly {
			if _, err = lib.stat(""); errors.Is(broken(err), errClear) {
				err = &refusalError{remote.PartShare, remote.MarkError(errClear, fs.ErrPermission)}
			}
		}
		return lib, err
	})
}

func (d *dialer) unreachable(ctx context.Context, err error) error {
	if refusal, ok := errors.AsType[*refusalError](err); ok {
		name := d.credentials.user
		if refusal.part == remote.PartShare {
			name = d.share
		}
		return &remote.UnreachableError{Part: refusal.part, Name: name, Err: refusal}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if b := broken(err); b != nil {
		err = b
	}
	return &remote.UnreachableError{Part: remote.PartHost, Name: d.hostPort, Err: remote.MarkError(err, remote.ErrUnavailable)}
}
