package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/xenbackup/xenbackup/selector"
	"github.com/xenbackup/xenbackup/xapi"
)

// inventory is what the pools of a runner hold at one moment.
type inventory struct {
	known  selector.Inventory
	places map[string]place // by uuid of the VM
	errs   map[string]error // by uuid of a VM, uuid of a pool, or name of a pool: why it is not known
}

// poolContent is the VMs of one pool, as objects of XO.
type poolContent struct {
	uuid string // of the pool
	vms  []selector.VM
	refs []xapi.Ref[xapi.VM]
	err  error
}

// readInventory reads the VMs of all pools, at the same time. A pool that cannot
// be asked is in the inventory as one that is not connected.
func (r *Runner) readInventory(ctx context.Context) *inventory {
	names := slices.Sorted(maps.Keys(r.opts.Pools))
	contents := make([]*poolContent, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { contents[i] = readPool(ctx, r.opts.Pools[name]) })
	}
	wg.Wait()
	inv := &inventory{places: map[string]place{}, errs: map[string]error{}}
	for i, c := range contents {
		inv.add(names[i], r.remember(names[i], c.uuid), c)
	}
	return inv
}

// remember keeps the uuid of a pool that answered, and returns the last known.
func (r *Runner) remember(pool, uuid string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if uuid != "" {
		r.uuids[pool] = uuid
	}
	return r.uuids[pool]
}

func (inv *inventory) add(pool, uuid string, c *poolContent) {
	inv.known.Pools = append(inv.known.Pools, selector.Pool{ID: uuid, Name: pool, Connected: c.err == nil})
	if c.err != nil {
		inv.errs[pool] = fmt.Errorf("pool %s: %w", pool, c.err)
		return
	}
	for i, vm := range c.vms {
		if _, twice := inv.places[vm.ID()]; !twice {
			inv.places[vm.ID()] = place{pool, c.refs[i]}
			inv.known.VMs = append(inv.known.VMs, vm)
		}
	}
}

// readPool reads the VMs of a pool; templates, snapshots and control domains are
// left out.
func readPool(ctx context.Context, pool Pool) *poolContent {
	c := &poolContent{}
	pools, err := xapi.All[xapi.Pool](ctx, pool)
	for _, p := range pools {
		c.uuid = p.UUID
	}
	o := objects{pool: c.uuid}
	if err == nil {
		o.hosts, err = xapi.All[xapi.Host](ctx, pool)
	}
	if err == nil {
		o.guests, err = xapi.All[xapi.VMGuestMetrics](ctx, pool)
	}
	var vms map[xapi.Ref[xapi.VM]]*xapi.VM
	if err == nil {
		vms, err = xapi.All[xapi.VM](ctx, pool)
	}
	if c.err = err; err != nil {
		return c
	}
	for ref, vm := range vms {
		if typeOf(vm) == "VM" {
			c.vms = append(c.vms, o.object(vm))
			c.refs = append(c.refs, ref)
		}
	}
	return c
}

// lookUp finds VMs by their uuids, which is cheaper than to read all. They come
// without what only patterns ask for.
func (r *Runner) lookUp(ctx context.Context, ids []string) *inventory {
	const atOnce = 8
	found := make([]located, len(ids))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, id := range ids {
		group.Go(func() error {
			found[i] = r.locate(ctx, id)
			return nil
		})
	}
	_ = group.Wait() // errors are in found
	inv := &inventory{places: map[string]place{}, errs: map[string]error{}}
	apart := map[string]bool{}
	for i, l := range found {
		for _, pool := range l.silent {
			apart[pool] = true
		}
		if l.err != nil {
			inv.errs[ids[i]] = l.err
			continue
		}
		inv.places[ids[i]] = l.place
		inv.known.VMs = append(inv.known.VMs, l.vm)
	}
	for _, name := range slices.Sorted(maps.Keys(r.opts.Pools)) {
		inv.known.Pools = append(inv.known.Pools, selector.Pool{ID: r.remember(name, ""), Name: name, Connected: !apart[name]})
	}
	return inv
}

// located is a VM that was looked for.
type located struct {
	place

	vm     selector.VM
	err    error    // it was not found
	silent []string // pools that could not be asked
}

// locate looks for a VM in all pools. A pool that cannot be asked counts only if
// no other has the VM.
func (r *Runner) locate(ctx context.Context, id string) located {
	var l located
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(r.opts.Pools)) {
		pool := r.opts.Pools[name]
		ref, err := xapi.ByUUID[xapi.VM](ctx, pool, id)
		if err == nil {
			var vm *xapi.VM
			if vm, err = xapi.Get(ctx, pool, ref); err == nil {
				return located{place: place{name, ref}, vm: objects{}.object(vm)}
			}
		}
		if !errors.Is(err, xapi.ErrUUIDInvalid) && !isGone(err, ref) {
			l.silent = append(l.silent, name)
		}
		errs = append(errs, fmt.Errorf("pool %s: %w", name, err))
	}
	l.err = errors.Join(errs...)
	return l
}
