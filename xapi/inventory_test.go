package xapi_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/xapi"
	"github.com/xenbackup/xenbackup/xapi/xapitest"
)

func inventory(t *testing.T, c *xapi.Client) *xapi.Inventory {
	t.Helper()
	inv, err := c.Inventory(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, inv.Close()) })
	return inv
}

func TestInventoryShowsThePool(t *testing.T) {
	t.Parallel()
	p, c := newPool(t, pattern(4<<20))
	inv := inventory(t, c)
	web := p.VM("web")
	before := inv.Snapshot()
	ref, vm := before.VMs.ByUUID(web.UUID)
	require.Equal(t, web.Ref, string(ref))
	require.Equal(t, "web", vm.NameLabel)
	disk := before.VBDs.Get(vm.VBDs[0]).VDI
	require.Equal(t, web.Disks[0].UUID, before.VDIs.Get(disk).UUID)
	require.Equal(t, "local", before.SRs.Get(before.VDIs.Get(disk).SR).NameLabel)
	require.Equal(t, 1, before.Pools.Len())
	for _, pool := range before.Pools.All() {
		require.NotNil(t, before.Hosts.Get(pool.Master))
	}

	var snapshot xapi.Ref[xapi.VM]
	require.NoError(t, c.Call(t.Context(), "VM.snapshot", &snapshot, ref, "s"))
	require.NoError(t, c.Call(t.Context(), "VM.set_name_label", nil, ref, "renamed"))
	require.NoError(t, inv.Sync(t.Context()))
	after := inv.Snapshot()
	require.Equal(t, "renamed", after.VMs.Get(ref).NameLabel)
	require.Equal(t, ref, after.VMs.Get(snapshot).SnapshotOf)
	require.True(t, after.VDIs.Get(after.VBDs.Get(after.VMs.Get(snapshot).VBDs[0]).VDI).IsASnapshot)
	require.Equal(t, "web", before.VMs.Get(ref).NameLabel, "a snapshot never changes")
	require.Nil(t, before.VMs.Get(snapshot))

	require.NoError(t, c.Call(t.Context(), "VM.destroy", nil, snapshot))
	gone, err := inv.Await(t.Context(), func(s *xapi.Snapshot) bool { return s.VMs.Get(snapshot) == nil })
	require.NoError(t, err)
	_, vm = gone.VMs.ByUUID(after.VMs.Get(snapshot).UUID)
	require.Nil(t, vm)
	require.NoError(t, inv.Err())
}

func TestInventoryEndsWithClose(t *testing.T) {
	t.Parallel()
	_, c := newPool(t, pattern(4<<20))
	inv := inventory(t, c)
	require.NoError(t, inv.Close())
	require.NoError(t, inv.Close())
	require.ErrorIs(t, inv.Err(), xapi.ErrClosed)
	require.ErrorIs(t, inv.Sync(t.Context()), xapi.ErrClosed)
	require.Equal(t, 2, inv.Snapshot().VMs.Len(), "what was known remains")

	inv = inventory(t, c)
	require.NoError(t, c.Close())
	_, err := inv.Await(t.Context(), func(*xapi.Snapshot) bool { return false })
	require.ErrorIs(t, err, xapi.ErrClosed)
	_, err = c.Inventory(t.Context())
	require.ErrorIs(t, err, xapi.ErrClosed)
}

// agrees compares the cache with what the pool says of itself.
func agrees(t *testing.T, c *xapi.Client, s *xapi.Snapshot) {
	t.Helper()
	same(t, c, s.VMs)
	same(t, c, s.VDIs)
	same(t, c, s.VBDs)
	same(t, c, s.SRs)
	same(t, c, s.PBDs)
	same(t, c, s.Hosts)
	same(t, c, s.Networks)
	same(t, c, s.VIFs)
	same(t, c, s.PIFs)
}

func same[T any, P xapi.Record[T]](t *testing.T, c *xapi.Client, table xapi.Table[T]) {
	t.Helper()
	all, err := xapi.All[T, P](t.Context(), c)
	require.NoError(t, err)
	if diff := cmp.Diff(all, maps.Collect(table.All())); diff != "" {
		t.Error(diff)
	}
}

// newDisklessPool has one VM, web, with two interfaces: it can be cloned as often as one likes.
func newDisklessPool(t *testing.T) (*xapitest.Pool, *xapi.Client) {
	t.Helper()
	p := xapitest.NewPool(t, xapitest.Inventory{VMs: []xapitest.VM{{Name: "web", VIFs: []xapitest.VIF{{}, {}}}}})
	c, err := xapi.Dial(t.Context(), p.URL(), &xapi.Options{Password: xapi.Secret(p.Password()), PollInterval: 20 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return p, c
}

func TestInventoryStaysTrueThroughTrouble(t *testing.T) {
	t.Parallel()
	p, c := newDisklessPool(t)
	inv := inventory(t, c)
	random := rand.New(rand.NewPCG(1, 2))
	web := xapi.Ref[xapi.VM](p.VM("web").Ref)
	var made []xapi.Ref[xapi.VM]
	for round := range thinned(40) {
		switch round % 8 {
		case 1:
			p.Fail("event.from", xapitest.OnCall(1), xapi.ErrEventsLost)
		case 3:
			p.ExpireSessions()
		case 5:
			p.Fail("event.from", xapitest.OnCall(1), &xapi.Error{Code: "INTERNAL_ERROR", Params: []string{"End_of_file"}})
		case 7:
			p.Fail("event.inject", xapitest.OnCall(1), xapi.ErrMessageMethodUnknown)
		}
		for range random.IntN(4) {
			var vm xapi.Ref[xapi.VM]
			require.NoError(t, c.Call(t.Context(), "VM.clone", &vm, web, fmt.Sprint("s", round)))
			made = append(made, vm)
		}
		if len(made) > 3 {
			i := random.IntN(len(made))
			require.NoError(t, c.Call(t.Context(), "VM.destroy", nil, made[i]))
			made = slices.Delete(made, i, i+1)
		}
		require.NoError(t, c.Call(t.Context(), "VM.set_name_label", nil, web, fmt.Sprint("round ", round)))
		require.NoError(t, inv.Sync(t.Context()))
		require.Equal(t, fmt.Sprint("round ", round), inv.Snapshot().VMs.Get(web).NameLabel)
		if round%8 == 7 {
			agrees(t, c, inv.Snapshot())
		}
	}
}

func TestInventorySnapshotsAreConsistentInAFlood(t *testing.T) {
	t.Parallel()
	p, c := newDisklessPool(t)
	inv := inventory(t, c)
	web := p.VM("web").Ref
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var flood sync.WaitGroup
	defer flood.Wait()
	flood.Go(func() {
		err := func() error {
			for i := range thinned(60) {
				var vm xapi.Ref[xapi.VM]
				if err := c.Call(t.Context(), "VM.clone", &vm, web, "s"); err != nil {
					return err
				}
				for range 10 {
					if err := c.Call(t.Context(), "VM.set_name_description", nil, web, fmt.Sprint(i)); err != nil {
						return err
					}
				}
				if err := c.Call(t.Context(), "VM.destroy", nil, vm); err != nil {
					return err
				}
			}
			return c.Call(t.Context(), "VM.set_name_label", nil, web, "done")
		}()
		if err != nil {
			cancel(err)
		}
	})
	looks := 0
	_, err := inv.Await(ctx, func(s *xapi.Snapshot) bool {
		looks++
		for ref, vm := range s.VMs.All() {
			for _, vif := range vm.VIFs {
				require.NotNil(t, s.VIFs.Get(vif))
				require.Equal(t, ref, s.VIFs.Get(vif).VM)
			}
		}
		return s.VMs.Get(xapi.Ref[xapi.VM](web)).NameLabel == "done"
	})
	require.NoError(t, err)
	require.Greater(t, looks, 1)
	agrees(t, c, inv.Snapshot())
}

// pooled adds the pool's own object, which barriers need.
func pooled(answer map[string]any) map[string]any {
	list, _ := answer["events"].([]any)
	answer["events"] = append(list, map[string]any{"class": "pool", "operation": "add", "ref": "p", "snapshot": map[string]any{}})
	return answer
}

func TestInventorySyncDoesNotWaitForAPoolThatWasRestored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{
			answers: map[string]func() any{"event.inject": func() any { return "3,0" }},
			from: func(n int) any {
				switch n {
				case 1:
					return pooled(events("5,0", "add vm a", "add vm b"))
				case 3:
					return pooled(events("3,0", "add vm b"))
				default:
					return nil // the position is in its future: it waits
				}
			},
		}
		inv := inventory(t, dialScript(t, s))
		synctest.Wait()
		began := time.Now()
		require.NoError(t, inv.Sync(t.Context()))
		require.Zero(t, time.Since(began))
		require.Nil(t, inv.Snapshot().VMs.Get("a"))
		require.NotNil(t, inv.Snapshot().VMs.Get("b"))
	})
}

func TestInventoryNoticesThatItHasDrifted(t *testing.T) {
	t.Parallel()
	counted := func(answer map[string]any, vms int) map[string]any {
		answer["valid_ref_counts"] = map[string]int{"vm": vms, "console": 5}
		return answer
	}
	synctest.Test(t, func(t *testing.T) {
		s := &script{from: func(n int) any {
			switch n {
			case 1:
				return counted(pooled(events("5", "add vm a", "add vm b")), 2)
			case 2:
				return counted(events("6"), 1) // one that says nothing of a's end
			case 3:
				return counted(events("6", "mod vm b"), 2) // was it but a moment?
			case 4, 5:
				return counted(events("6"), 1)
			case 6:
				return counted(pooled(events("6", "add vm b")), 3) // and this pool counts what it does not show
			case 7, 8, 9:
				return counted(events("6"), 3)
			default:
				return nil
			}
		}}
		inv := inventory(t, dialScript(t, s))
		_, err := inv.Await(t.Context(), func(s *xapi.Snapshot) bool { return s.VMs.Get("a") == nil })
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, []string{"", "5", "6", "6", "6", "", "6", "6", "6", "6"}, s.tokens)
	})
}

func TestInventorySaysWhyItIsBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := make(chan struct{})
		s := &script{from: func(n int) any {
			if n == 1 {
				return pooled(events("5", "add vm a"))
			}
			select {
			case <-down:
				return nil
			default:
				return errors.New("no route to host")
			}
		}}
		s.answers = map[string]func() any{"event.inject": func() any { return errors.New("no route to host") }}
		inv := inventory(t, dialScript(t, s))
		_, err := inv.Await(t.Context(), func(*xapi.Snapshot) bool { return inv != nil })
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = inv.Sync(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, xapi.ErrConnectionLost)
		require.ErrorIs(t, inv.Err(), xapi.ErrConnectionLost)
		close(down)
		<-time.After(2 * time.Minute)
		require.NoError(t, inv.Err())
	})
}

func TestInventoryLeavesOutOddRecordsOnly(t *testing.T) {
	t.Parallel()
	odd := events("5", "add vm a", "add vm b")
	odd["events"].([]any)[0].(map[string]any)["snapshot"] = map[string]any{"tags": 5}
	odd["valid_ref_counts"] = map[string]int{"vm": 2}
	s := &script{from: func(n int) any {
		if n == 1 {
			return pooled(odd)
		}
		return nil
	}}
	inv := inventory(t, dialScript(t, s))
	require.Nil(t, inv.Snapshot().VMs.Get("a"))
	require.NotNil(t, inv.Snapshot().VMs.Get("b"))
}

func TestInventoryOfAPoolThatDoesNotAnswerEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{from: func(int) any { return errors.New("no route to host") }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := dialScript(t, s).Inventory(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, xapi.ErrConnectionLost)
	})
}
