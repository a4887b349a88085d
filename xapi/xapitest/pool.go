package xapitest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xenbackup/xenbackup/xapi"
)

// Options configures a pool. The zero value and nil are the defaults.
type Options struct {
	// Dir holds the disks, one raw file each. "" is a temporary directory that
	// Close removes. Snapshots share blocks with their origin where the
	// filesystem can (XFS, Btrfs), and are sparse copies elsewhere.
	Dir string
	// Keep stores the whole pool in Dir besides, so that Start with the same Dir
	// goes on where this one stopped, as a pool does that was rebooted: objects,
	// contents of TPMs, changed blocks and certificates are those from before, the
	// inventory is not looked at, sessions, tasks and events are gone. It is stored
	// by Close and a second after each change. One pool may use a Dir at a time:
	// where the system has flock, a second one does not start.
	Keep bool

	Username string // "" = "root"
	Password string // "" = "simulated-secret", which no file name contains by chance
	Users    []User // who may log in besides

	// Listen is the TCP address to listen on; "" = 127.0.0.1:0, a free port.
	Listen string
	// Listener is used instead of Listen, for example a [MemoryListener]. Close
	// closes it. With one that is neither that nor TCP, the pool has one host.
	Listener net.Listener

	// TLS lets every host listen with TLS, with a certificate of its own that
	// it has signed itself; [Pool.Hosts] has them. Certificate is one for all
	// of them instead, and implies TLS.
	TLS         bool
	Certificate *tls.Certificate

	// NoJSONRPC leaves XML-RPC as the only protocol, as on pools before
	// XenServer 7.3.
	NoJSONRPC bool

	// AuthDelay is how long a wrong password takes to be refused: 5 seconds on
	// a real host, 0 here.
	AuthDelay time.Duration
	// RestartTime is how long a host takes no connections while its toolstack
	// restarts: some 15 seconds on a real one, 0 here.
	RestartTime time.Duration
	// EventDelay is how long event.from gathers changes before it answers,
	// unless it is asked for tasks alone: 50 ms on a real host, 0 here.
	EventDelay time.Duration
	// EventQueue is how many changes the pool remembers for those who listen: who
	// asks for events later than that gets EVENTS_LOST, from event.next once and
	// from event.from for every token that old. 0 is 10,000 for event.next, and for
	// event.from no limit, as current hosts have it. [Pool.Flood] makes many.
	EventQueue int
	// Heartbeat is how often the object of the pool appears changed, as long as
	// someone waits for events. 0 = never.
	Heartbeat time.Duration

	// Now is the clock by which sessions and tasks grow old; nil = time.Now.
	// They are looked through at most every 30 seconds of it, when a call
	// arrives.
	Now func() time.Time

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
	nbd     nbdService
	methods map[string]*method
	paths   map[string]map[string]handler
	doors   []*door // by host
	cancel  context.CancelFunc
	work    sync.WaitGroup // tasks in the background
	moving  sync.WaitGroup // transfers
	locks   keyedLocks
	hosts   []string // refs in the order of the inventory
	master  atomic.Pointer[string]
	poolRef string
	closing sync.Once
	closed  error

	mu        sync.Mutex
	calls     []Call
	running   map[string]*running // by task
	transfers map[*exchange]context.CancelFunc
	vtpms     map[string]string        // contents by ref
	idling    map[string]chan struct{} // by task; see Idle
	queues    map[string]*queue        // of event.next, by session
	swept     time.Time
	expected  []string // leaks
}

// Start builds the pool that inv describes and serves it until Close. An error
// names the part of the inventory that cannot be.
func Start(inv Inventory, opts *Options) (*Pool, error) {
	if opts == nil {
		opts = new(Options)
	}
	p := &Pool{
		options: *opts, log: opts.Logger, db: newDatabase(), running: make(map[string]*running),
		transfers: make(map[*exchange]context.CancelFunc), vtpms: make(map[string]string), idling: make(map[string]chan struct{}), queues: make(map[string]*queue),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.methods, p.paths = p.methodTable(), p.routes()
	disks, err := openDiskStore(opts.Dir)
	if err != nil {
		return nil, err
	}
	p.disks = disks
	if err := p.build(inv); err != nil {
		return nil, errors.Join(err, p.closeDoors(), disks.close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	for i, d := range p.doors {
		d.server = &server{listener: d.listener, handle: func(ctx context.Context, x *exchange) {
			x.host = p.hosts[i]
			p.route(ctx, x)
		}}
	}
	for _, d := range p.doors {
		d.server.start(ctx)
	}
	if p.options.Keep {
		if err := p.store(); err != nil {
			p.Expect("")
			return nil, errors.Join(err, p.Close())
		}
		p.work.Go(func() { p.keepStored(ctx) })
	}
	return p, nil
}

// build opens the doors and fills the database.
func (p *Pool) build(inv Inventory) error {
	if p.options.Keep && p.options.Dir == "" {
		return errors.New("xapitest: a pool can be kept in a Dir alone")
	}
	if p.options.Keep {
		k, err := p.disks.occupy()
		if err != nil {
			return err
		}
		if k != nil {
			if err := p.open(k.hosts(), k.certificate); err != nil {
				return err
			}
			p.resume(k)
			return nil
		}
	}
	inv.Hosts = slices.Clone(inv.Hosts)
	if len(inv.Hosts) == 0 {
		inv.Hosts = []Host{{Name: "host-1"}}
	}
	if err := p.open(inv.Hosts, nil); err != nil {
		return err
	}
	return p.populate(inv)
}

// Close cuts all connections, cancels all tasks, waits for everything that the
// pool started and, if Dir was not given, removes the disks. It fails when a
// scripted fault never struck, since a test that scripted it proved nothing,
// and when something has leaked that [Pool.Expect] was not told of: see
// [Pool.Leaks]. Transfers that are under way are no leak.
func (p *Pool) Close() error {
	p.closing.Do(func() {
		for _, d := range p.doors {
			d.server.shut()
		}
		p.faults.releaseAll(true)
		p.endTransfers()
		p.nbd.close()
		leaks := p.Leaks()
		p.cancel()
		for _, d := range p.doors {
			d.server.wait()
		}
		p.work.Wait()
		if p.options.Keep {
			p.closed = p.store()
		}
		p.closed = errors.Join(p.closed, p.disks.close())
		if unused := p.faults.unused(); len(unused) > 0 {
			p.closed = errors.Join(p.closed, fmt.Errorf("xapitest: scripted faults that never struck: %s", strings.Join(unused, ", ")))
		}
		if len(leaks) > 0 {
			p.closed = errors.Join(p.closed, fmt.Errorf("xapitest: leaks: %s", strings.Join(leaks, ", ")))
		}
	})
	return p.closed
}

// URL returns the address to give to a client, such as http://127.0.0.1:40123:
// that of the master.
func (p *Pool) URL() string { return p.doors[p.masterIndex()].url() }

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
		return "simulated-secret"
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
// fails when the pool cannot start, and when Close fails: a scripted fault never
// struck, or something has leaked.
func NewPool(tb TB, inv Inventory) *Pool {
	tb.Helper()
	return NewPoolWith(tb, inv, nil)
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
