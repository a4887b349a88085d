package xapitest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/xapi"
)

// Options configures a pool. The zero value and nil are the defaults.
type Options struct {
	// Dir holds the disks, one raw file each. "" is a temporary directory that
	// Close removes. Snapshots share blocks with their origin where the
	// filesystem can (XFS, Btrfs), and are sparse copies elsewhere.
	Dir string

	Username string // "" = "root"
	Password string // "" = "xenbackup"

	// Listen is the TCP address to listen on; "" = 127.0.0.1:0, a free port.
	Listen string
	// Listener is used instead of Listen, for example a [MemoryListener]. Close
	// closes it.
	Listener net.Listener

	// AuthDelay is how long a wrong password takes to be refused: 5 seconds on
	// a real host, 0 here.
	AuthDelay time.Duration

	Logger *slog.Logger // nil = silent
}

// Pool is a simulated pool that serves the XenAPI. All methods may be called
// concurrently, and while clients are being served.
type Pool struct {
	options Options
	log     *slog.Logger
	db      *database
	disks   *diskStore
	faults  faults
	methods map[string]*method
	server  *server
	cancel  context.CancelFunc
	work    sync.WaitGroup // tasks in the background
	locks   keyedLocks
	master  string // ref of the host that serves
	poolRef string
	closing sync.Once
	closed  error

	mu      sync.Mutex
	calls   []Call
	running map[string]*running // by task
	vtpms   map[string]string   // contents by ref
}

// Start builds the pool that inv describes and serves it until Close. An error
// names the part of the inventory that cannot be.
func Start(inv Inventory, opts *Options) (*Pool, error) {
	if opts == nil {
		opts = new(Options)
	}
	p := &Pool{
		options: *opts, log: opts.Logger, db: newDatabase(),
		running: make(map[string]*running), vtpms: make(map[string]string),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.methods = p.methodTable()
	disks, err := openDiskStore(opts.Dir)
	if err != nil {
		return nil, err
	}
	p.disks = disks
	listener, err := p.build(inv)
	if err != nil {
		return nil, errors.Join(err, disks.close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.server = &server{listener: listener, handle: p.route}
	p.server.start(ctx)
	return p, nil
}

// build fills the database and opens the door.
func (p *Pool) build(inv Inventory) (net.Listener, error) {
	if err := p.populate(inv); err != nil {
		return nil, err
	}
	if p.options.Listener != nil {
		return p.options.Listener, nil
	}
	address := p.options.Listen
	if address == "" {
		address = "127.0.0.1:0"
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("xapitest: %w", err)
	}
	return listener, nil
}

// Close cuts all connections, cancels all tasks, waits for everything that the
// pool started and, if Dir was not given, removes the disks. It fails when a
// scripted fault never struck, since a test that scripted it proved nothing.
func (p *Pool) Close() error {
	p.closing.Do(func() {
		p.cancel()
		p.server.close()
		p.work.Wait()
		p.closed = p.disks.close()
		if unused := p.faults.unused(); len(unused) > 0 {
			p.closed = errors.Join(p.closed, fmt.Errorf("xapitest: scripted faults that never struck: %s", strings.Join(unused, ", ")))
		}
	})
	return p.closed
}

// URL returns the address to give to a client, such as http://127.0.0.1:40123.
func (p *Pool) URL() string { return "http://" + p.server.listener.Addr().String() }

// Username returns the name that may log in.
func (p *Pool) Username() string {
	if p.options.Username == "" {
		return "root"
	}
	return p.options.Username
}

// Password returns the password that goes with Username.
func (p *Pool) Password() string {
	if p.options.Password == "" {
		return "xenbackup"
	}
	return p.options.Password
}

// TB is what NewPool needs of *testing.T, so that this package does not import
// package testing.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	TempDir() string
}

// NewPool starts a pool for a test and closes it at the test's end. The test
// fails when the pool cannot start, and when a scripted fault never struck.
func NewPool(tb TB, inv Inventory) *Pool {
	tb.Helper()
	p, err := Start(inv, &Options{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatalf("start a simulated pool: %v", err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Errorf("close the simulated pool: %v", err)
		}
	})
	return p
}

// Client returns a client that is logged in to the pool, and closes it at the
// test's end.
func (p *Pool) Client(tb TB) *xapi.Client {
	tb.Helper()
	opts := &xapi.Options{Username: p.Username(), Password: xapi.Secret(p.Password()), Transport: p.Transport()}
	client, err := xapi.Dial(context.Background(), p.URL(), opts)
	if err != nil {
		tb.Fatalf("log in to the simulated pool: %v", err)
	}
	tb.Cleanup(func() {
		if err := client.Close(); err != nil {
			tb.Errorf("close the client of the simulated pool: %v", err)
		}
	})
	return client
}

// Transport reaches the pool from this process: in memory where it listens on a
// [MemoryListener]; else nil, which stands for the default.
func (p *Pool) Transport() http.RoundTripper {
	if l, ok := p.options.Listener.(*MemoryListener); ok {
		return &http.Transport{DialContext: l.DialContext}
	}
	return nil
}
