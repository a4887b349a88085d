package xapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

// rig is a pool of two hosts in memory, and a client of it, in a bubble of simulated time: a call that hangs is a deadlock, and a
// goroutine that stays behind fails the test.
type rig struct {
	*xapi.Client

	pool *xapitest.Pool
	open atomic.Int64 // connections
}

// bubble runs a test on a rig, over both protocols; under the race detector over the first one. At the end nothing may be left: no
// connection, no goroutine, no snapshot, no task, no fault that never struck.
func bubble(t *testing.T, run func(t *testing.T, r *rig)) {
	t.Helper()
	for _, protocol := range []xapi.Protocol{xapi.JSONRPC, xapi.XMLRPC} {
		if sweepStride > 1 && protocol == xapi.XMLRPC {
			continue
		}
		t.Run(string(protocol), func(t *testing.T) {
			t.Parallel()
			dir, image := t.TempDir(), diskImage(t)
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, dir, image, protocol)
				t.Cleanup(func() { _ = errors.Join(r.Close(), r.pool.Close()) }) // after a failure
				run(t, r)
				require.NoError(t, r.Close())
				require.Empty(t, r.pool.Snapshots())
				require.NoError(t, r.pool.Close())
				synctest.Wait()
				require.Zero(t, r.open.Load())
			})
		})
	}
}

func diskImage(t *testing.T) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(image, squeezable(4<<20), 0o600))
	return image
}

// twoHosts is a pool whose VM, web, has a disk of that content.
func twoHosts(image string) xapitest.Inventory {
	return xapitest.Inventory{
		Hosts: []xapitest.Host{{Name: "alpha"}, {Name: "beta"}}, SRs: []xapitest.SR{{Name: "shared", Shared: true}},
		VMs: []xapitest.VM{{Name: "web", Disks: []xapitest.Disk{{Name: "root", Content: image}}}},
	}
}

func newRig(t *testing.T, dir, image string, protocol xapi.Protocol) *rig {
	t.Helper()
	network := xapitest.NewMemoryListener()
	p, err := xapitest.Start(twoHosts(image), &xapitest.Options{Dir: dir, Listener: network, NoJSONRPC: protocol == xapi.XMLRPC, Now: time.Now})
	require.NoError(t, err)
	r := &rig{pool: p}
	r.Client, err = xapi.Dial(t.Context(), p.URL(), &xapi.Options{
		Password: xapi.Secret(p.Password()), StallTimeout: time.Minute, FirstByteTimeout: 10 * time.Minute,
		DialContext: func(ctx context.Context, kind, address string) (net.Conn, error) {
			conn, err := network.DialContext(ctx, kind, address)
			if err != nil {
				return nil, err
			}
			r.open.Add(1)
			return &countedConn{Conn: conn, open: &r.open}, nil
		},
	})
	require.NoError(t, err)
	require.Equal(t, protocol, r.Protocol())
	return r
}

type countedConn struct {
	net.Conn

	open   *atomic.Int64
	closed atomic.Bool
}

func (c *countedConn) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

func (r *rig) vm() string { return r.pool.VM("web").Ref }

// A job is something that a client does.
type job func(ctx context.Context, r *rig) error

// getter reads a field.
func getter(ctx context.Context, r *rig) error {
	var name string
	err := r.Call(ctx, "VM.get_name_label", &name, r.vm())
	if err == nil && name != "web" {
		err = fmt.Errorf("the name is %q", name)
	}
	return err
}

// setter changes a field, which is the same when it is done twice.
func setter(ctx context.Context, r *rig) error {
	return r.Call(ctx, "VM.set_name_description", nil, r.vm(), "changed")
}

// direct makes something, and waits for it in one call.
func direct(ctx context.Context, r *rig) error {
	var snapshot xapi.Ref[xapi.VM]
	if err := r.Call(ctx, "VM.snapshot", &snapshot, r.vm(), "by a call"); err != nil {
		return err
	}
	return remove(ctx, r, snapshot)
}

// async makes something by a task.
func async(ctx context.Context, r *rig) error {
	var snapshot xapi.Ref[xapi.VM]
	if err := r.CallAsync(ctx, "VM.snapshot", &snapshot, r.vm(), "by a task"); err != nil {
		return err
	}
	return remove(ctx, r, snapshot)
}

// remove takes a snapshot and its disks away.
func remove(ctx context.Context, r *rig, snapshot xapi.Ref[xapi.VM]) error {
	record, err := xapi.Get(ctx, r, snapshot)
	if err != nil {
		return err
	}
	for _, ref := range record.VBDs {
		vbd, err := xapi.Get(ctx, r, ref)
		if err != nil {
			return err
		}
		if err := r.CallAsync(ctx, "VDI.destroy", nil, vbd.VDI); err != nil {
			return err
		}
	}
	return r.CallAsync(ctx, "VM.destroy", nil, snapshot)
}

// exporting reads one of the exports, and proves it.
func exporting(name string) job {
	return func(ctx context.Context, r *rig) error {
		one := exports[name]
		d, err := one.open(ctx, r.Client, r.pool)
		if err != nil {
			return err
		}
		return complete(ctx, d, one.whole)
	}
}

// importVDI writes a disk of its own, and takes it away.
func importVDI(ctx context.Context, r *rig) (err error) {
	var vdi xapi.Ref[xapi.VDI]
	sr := xapi.Ref[xapi.SR](r.pool.SR("shared").Ref)
	content := squeezable(4 << 20)
	if err := r.CallAsync(ctx, "VDI.create", &vdi, xapi.VDI{SR: sr, VirtualSize: int64(len(content)), Type: "user"}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.CallAsync(context.WithoutCancel(ctx), "VDI.destroy", nil, vdi)) }()
	return r.ImportVDI(ctx, vdi, int64(len(content)), bytes.NewReader(content), &xapi.ImportVDIOptions{Format: "raw"})
}

// importVM makes a VM of an archive, and takes it away.
func importVM(ctx context.Context, r *rig) error {
	d, err := r.ExportVM(ctx, vmOf(r.pool), nil)
	if err != nil {
		return err
	}
	archive, err := io.ReadAll(d)
	if err = errors.Join(err, d.Finish(ctx)); err != nil {
		return err
	}
	vms, err := r.ImportVM(ctx, int64(len(archive)), bytes.NewReader(archive), nil)
	for _, vm := range vms {
		err = errors.Join(err, remove(context.WithoutCancel(ctx), r, vm))
	}
	return err
}

// importMetadata makes a VM of an archive without disks, for a trial.
func importMetadata(ctx context.Context, r *rig) error {
	d, err := r.ExportMetadata(ctx, vmOf(r.pool), nil)
	if err != nil {
		return err
	}
	archive, err := io.ReadAll(d)
	if err = errors.Join(err, d.Finish(ctx)); err != nil {
		return err
	}
	_, err = r.ImportMetadata(ctx, int64(len(archive)), bytes.NewReader(archive), &xapi.ImportMetadataOptions{DryRun: true})
	return err
}

// every is all that a client does.
var every = map[string]job{
	"getter": getter, "setter": setter, "call": direct, "task": async, "export VHD": exporting("VHD"), "export raw": exporting("raw"), "export XVA": exporting("XVA"),
	"export XVA zstd": exporting("XVA zstd"), "export metadata": exporting("metadata"), "dump": exporting("database"), "import VDI": importVDI, "import VM": importVM,
	"import metadata": importMetadata,
}

func TestEveryJobWorksWhereNothingIsWrong(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, r *rig) {
		t.Helper()
		for name, do := range every {
			require.NoError(t, do(t.Context(), r), name)
		}
	})
}

// TestEveryJobWorksOverPinnedTLS: over sockets, with a pin for each host.
func TestEveryJobWorksOverPinnedTLS(t *testing.T) {
	t.Parallel()
	for _, protocol := range []xapi.Protocol{xapi.JSONRPC, xapi.XMLRPC} {
		p := xapitest.NewPoolWith(t, twoHosts(diskImage(t)), &xapitest.Options{TLS: true})
		pins := make(map[string][]xapi.Fingerprint)
		for _, host := range p.Hosts() {
			pins[host.Address] = []xapi.Fingerprint{certificatePin(host)}
		}
		c, err := xapi.Dial(t.Context(), p.URL(), &xapi.Options{Password: xapi.Secret(p.Password()), Pins: pins, Protocol: protocol})
		require.NoError(t, err)
		for name, do := range every {
			require.NoError(t, do(t.Context(), &rig{Client: c, pool: p}), name)
		}
		require.NoError(t, c.Close())
	}
}

// struck is a fault and what a client makes of it.
type struck struct {
	what   string
	script func(p *xapitest.Pool)
	job    job
	want   []error // one of them; none is success
	calls  map[string]int
	either bool // or success: it depends on who is faster
	orphan bool // the answer that told of a snapshot was lost: nobody but the pool knows it
	limit  time.Duration
}

// clean removes what nobody was told of.
func (r *rig) clean(t *testing.T) {
	t.Helper()
	for _, snapshot := range r.pool.Snapshots() {
		require.NoError(t, remove(t.Context(), r, xapi.Ref[xapi.VM](snapshot.Ref)))
	}
}

func (s *struck) test(t *testing.T, r *rig) {
	t.Helper()
	limit := s.limit
	if limit == 0 {
		limit = time.Hour
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	s.script(r.pool)
	began := time.Now()
	err := s.job(ctx, r)
	require.LessOrEqual(t, time.Since(began), limit+time.Minute)
	cancel()
	switch {
	case len(s.want) == 0:
		require.NoError(t, err)
	case err == nil:
		require.True(t, s.either)
	default:
		for _, text := range allTexts(err) {
			require.NotContains(t, text, r.pool.Password())
			require.NotContains(t, text, "session_id=OpaqueRef")
		}
		hit := false
		for _, want := range s.want {
			hit = hit || errors.Is(err, want)
		}
		require.True(t, hit, "%v", err)
	}
	got := make(map[string]int)
	for _, call := range r.pool.Calls() {
		got[call.Method]++
	}
	for method, n := range s.calls {
		require.Equal(t, n, got[method], method)
	}
	synctest.Wait()
	require.Empty(t, r.pool.Leaks())
	if s.orphan {
		r.clean(t)
	}
}

func testFaults(t *testing.T, faults []struck) {
	t.Helper()
	for i, fault := range faults {
		if sweepStride > 1 && i%4 != 0 { // another quarter each time: most of them come from maps
			continue
		}
		t.Run(fault.what, func(t *testing.T) {
			t.Parallel()
			bubble(t, fault.test)
		})
	}
}

var (
	errStorage = &xapi.Error{Code: "SR_BACKEND_FAILURE_46", Params: []string{"", "The VDI is not available", ""}}
	first      = xapitest.OnCall(1)
	always     = xapitest.EachCall()
)

// transfers are the requests of the jobs that move data.
var transfers = map[string]string{
	"export VHD": "GET /export_raw_vdi", "export raw": "GET /export_raw_vdi", "export XVA": "GET /export", "export XVA zstd": "GET /export",
	"export metadata": "GET /export_metadata", "dump": "GET /pool/xmldbdump", "import VDI": "PUT /import_raw_vdi", "import VM": "PUT /import",
	"import metadata": "PUT /import_metadata",
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	refuse := func(method string, when xapitest.When, err *xapi.Error) func(*xapitest.Pool) {
		return func(p *xapitest.Pool) { p.Fail(method, when, err) }
	}
	faults := []struck{
		{what: "a getter", script: refuse("VM.get_name_label", first, errStorage), job: getter, want: []error{errStorage}},
		{what: "a getter, for the moment", script: refuse("VM.get_name_label", first, xapi.ErrTooBusy), job: getter},
		{what: "a getter, each second time", script: refuse("VM.get_name_label", xapitest.Every(2), xapi.ErrHostStillBooting), job: func(ctx context.Context, r *rig) error {
			return errors.Join(getter(ctx, r), getter(ctx, r), getter(ctx, r))
		}},
		{
			what: "a getter, for long", script: refuse("VM.get_name_label", always, xapi.ErrTooBusy), job: getter, want: []error{xapi.ErrTooBusy},
			calls: map[string]int{"VM.get_name_label": 8},
		},
		{what: "a setter, for the moment", script: refuse("VM.set_name_description", first, xapi.ErrTooManyPendingTasks), job: setter},
		{
			what: "a call, for the moment", script: refuse("VM.snapshot", first, xapi.ErrTooBusy), job: direct, want: []error{xapi.ErrTooBusy},
			calls: map[string]int{"VM.snapshot": 1},
		},
		{
			what: "a task, for the moment", script: refuse("VM.snapshot", first, xapi.ErrTooBusy), job: async, want: []error{xapi.ErrTooBusy},
			calls: map[string]int{"Async.VM.snapshot": 1},
		},
		{what: "a task, its object is busy", script: func(p *xapitest.Pool) {
			p.Fail("VM.snapshot", first, &xapi.Error{Code: "OTHER_OPERATION_IN_PROGRESS", Params: []string{"VM", p.VM("web").Ref, "clone", ""}})
		}, job: async, calls: map[string]int{"Async.VM.snapshot": 2}},
		{what: "a task, for good", script: refuse("VM.snapshot", always, errStorage), job: async, want: []error{errStorage}},
		{what: "events lost, for a task", script: refuse("event.from", always, xapi.ErrEventsLost), job: async},
		{what: "no events, for a task", script: refuse("event.from", always, xapi.ErrMessageMethodUnknown), job: async},
		{what: "a task's removal", script: refuse("task.destroy", always, errStorage), job: async},
		{what: "a transfer's task, for the moment", script: refuse("task.create", first, xapi.ErrTooBusy), job: exporting("VHD")},
		{what: "a transfer's task", script: refuse("task.create", first, errStorage), job: exporting("XVA"), want: []error{errStorage}},
		{what: "the size of a raw disk", script: refuse("VDI.get_virtual_size", first, errStorage), job: exporting("raw"), want: []error{errStorage}},
	}
	for name, request := range transfers {
		faults = append(faults, struck{what: name, script: refuse(request, first, errStorage), job: every[name], want: []error{errStorage}})
	}
	testFaults(t, faults)
}

func TestSilences(t *testing.T) {
	t.Parallel()
	hang := func(method string, when xapitest.When) func(*xapitest.Pool) {
		return func(p *xapitest.Pool) { p.Hang(method, when) }
	}
	wedge := func(method string) func(*xapitest.Pool) {
		return func(p *xapitest.Pool) { p.Wedge(method, first) }
	}
	slow := func(method string, d time.Duration) func(*xapitest.Pool) {
		return func(p *xapitest.Pool) { p.Slow(method, always, d) }
	}
	late, stalled := []error{context.DeadlineExceeded}, []error{xapi.ErrStalled}
	faults := []struck{
		{what: "a getter hangs", script: hang("VM.get_name_label", first), job: getter, want: stalled},
		{what: "a setter hangs", script: hang("VM.set_name_description", first), job: setter, want: late},
		{what: "a call hangs", script: hang("VM.snapshot", first), job: direct, want: late},
		{what: "a task hangs", script: hang("VM.snapshot", first), job: async, want: late, calls: map[string]int{"task.cancel": 1}},
		{what: "events hang, for a task", script: hang("event.from", always), job: async},
		{what: "a call is wedged", script: wedge("VM.snapshot"), job: direct, want: late},
		{what: "a task is wedged", script: wedge("VM.snapshot"), job: async, want: late},
		{what: "a slow getter", script: slow("VM.get_name_label", 50*time.Second), job: getter},
		{what: "a getter that is too slow", script: slow("VM.get_name_label", 2*time.Minute), job: getter, want: stalled},
		{what: "a slow call", script: slow("VM.snapshot", 30*time.Hour), job: direct, limit: 100 * time.Hour},
		{what: "a slow task", script: slow("VM.snapshot", 20*time.Hour), job: async, limit: 100 * time.Hour},
	}
	for name, request := range transfers {
		faults = append(faults,
			struck{what: name + " hangs", script: hang(request, first), job: every[name], want: stalled},
			struck{what: name + " is slow", script: slow(request, 2*time.Second), job: every[name], limit: 100 * time.Hour},
		)
	}
	testFaults(t, faults)
}

func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	endings := map[string]xapitest.Ending{"cut": xapitest.Cut, "reset": xapitest.Reset, "stall": xapitest.Stall, "page": xapitest.ErrorPage}
	lost := []error{xapi.ErrConnectionLost, xapi.ErrProtocol}
	var faults []struck
	add := func(what, request string, after int64, how xapitest.Ending, f struck) {
		f.what = fmt.Sprintf("%s at %d", what, after)
		f.script = func(p *xapitest.Pool) { p.Break(request, first, after, how) }
		faults = append(faults, f)
	}
	for name, how := range endings {
		for job, request := range transfers {
			for _, after := range []int64{0, 1, 700, 100 << 10} {
				if after > 700 && (job == "export metadata" || job == "import metadata" || job == "export XVA zstd" || job == "dump") {
					continue // they are shorter
				}
				want := []error{xapi.ErrVDIIOError, xapi.ErrTruncated, xapi.ErrConnectionLost, xapi.ErrProtocol, io.ErrUnexpectedEOF, errImport, xapi.ErrClientError, xapi.ErrInternal}
				if how == xapitest.Stall {
					want = []error{xapi.ErrStalled}
				}
				add(job+" "+name, request, after, how, struck{job: every[job], want: want})
			}
		}
		for _, after := range []int64{0, 10, 100} {
			stalled := how == xapitest.Stall
			get, change := struck{job: getter, want: lost}, struck{job: setter, want: lost}
			make1, make2 := struck{job: direct, want: lost, orphan: true}, struck{job: async, want: lost, orphan: true}
			if stalled {
				get.want, change.want = []error{xapi.ErrStalled}, []error{context.DeadlineExceeded}
				make1.want, make2.want = change.want, change.want
			}
			if !stalled && (after > 0 || how != xapitest.ErrorPage) {
				get.want = nil // asked again
			}
			add("getter "+name, "VM.get_name_label", after, how, get)
			add("setter "+name, "VM.set_name_description", after, how, change)
			add("call "+name, "VM.snapshot", after, how, make1)
			add("task "+name, "VM.snapshot", after, how, make2)
			add("events "+name, "event.from", after, how, struck{job: async})
			add("outcome "+name, "task.destroy", after, how, struck{job: async})
		}
	}
	testFaults(t, faults)
}

var errImport = &xapi.Error{Code: "IMPORT_ERROR_PREMATURE_EOF"}
