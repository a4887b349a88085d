package catalog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// What somebody reads is neither deleted nor merged; afterwards it is.
func TestLeaseProtectsWhatIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, fsys := newRepository(t, 3)
		reader, writer := openCatalog(t, fsys), openCatalog(t, fsys)
		s := lockVM(t, writer, testVM)
		lease, err := reader.Lease(t.Context(), pointName(1))
		require.NoError(t, err)
		require.ErrorIs(t, s.Delete(t.Context(), pointName(1)), catalog.ErrLeased)
		expired, err := s.Expire(t.Context(), catalog.Retention{ScheduleID: testSchedule, Keep: 1})
		require.NoError(t, err)
		require.Len(t, expired, 1, "the second point, which nobody reads")
		report, err := s.Merge(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, report.Merged)
		require.ErrorIs(t, report.Left[0].Err, catalog.ErrLeased)
		_, err = s.Clean(t.Context(), nil)
		require.ErrorIs(t, err, catalog.ErrLeased)
		require.NoError(t, lease.Err())

		require.NoError(t, lease.Release(t.Context()))
		require.NoError(t, s.Delete(t.Context(), pointName(1)))
		report, err = s.Merge(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, report.Merged, 2)
		_, err = reader.Lease(t.Context(), pointName(1))
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.NoError(t, s.Close(t.Context()))
	})
}

// A reader who died holds nobody up for longer than a lock does.
func TestLeaseOfTheDeadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, fsys := newRepository(t, 3)
		faulty := remotetest.NewFaulty(fsys)
		lease, err := openCatalog(t, faulty).Lease(t.Context(), pointName(1))
		require.NoError(t, err)
		faulty.FailFrom(1, errors.New("dead"))
		s := lockVM(t, openCatalog(t, fsys), testVM)
		start := time.Now()
		require.NoError(t, s.Delete(t.Context(), pointName(1)))
		require.Less(t, time.Since(start), 13*time.Second)
		require.ErrorIs(t, lease.Err(), remote.ErrLockLost)
		require.Error(t, lease.Release(t.Context()))
		require.NoError(t, s.Close(t.Context()))
	})
}

// A reader whose lease was taken away, or whose storage did not answer for too long, gets
// nothing more: what he might read is changing.
func TestNothingIsReadUnderALeaseThatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, hangs := range []bool{false, true} {
			_, fsys := newRepository(t, 3)
			faulty := remotetest.NewFaulty(fsys)
			c := openCatalog(t, faulty)
			p, err := c.Point(t.Context(), pointName(2))
			require.NoError(t, err)
			lease, err := c.Lease(t.Context(), p.ID)
			require.NoError(t, err)
			d, err := openCatalog(t, fsys).OpenDisk(t.Context(), p, diskRef(0, 2))
			require.NoError(t, err)
			content := make([]byte, 512)
			under := lease.Guard(d)
			_, err = under.ReadAt(content, 0)
			require.NoError(t, err)
			if hangs {
				faulty.FailFrom(1, syscall.EIO)
			} else {
				require.NoError(t, remote.RemoveAll(t.Context(), fsys, ".xenbackup/leases"))
			}
			<-lease.Lost()
			n, err := under.ReadAt(content, 0)
			require.Zero(t, n)
			require.ErrorIs(t, err, catalog.ErrLeaseLost)
			require.ErrorIs(t, err, remote.ErrLockLost)
			require.Error(t, lease.Release(t.Context()))
			require.NoError(t, d.Close())
		}
	})
	var none *catalog.Lease
	r := bytes.NewReader(nil)
	require.Same(t, r, none.Guard(r))
}

// A session that died while it deleted or merged keeps no reader waiting for longer
// than a lock does, and the next session goes on at once.
func TestChangeOfTheDeadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, fsys := newRepository(t, 3)
		faulty := remotetest.NewFaulty(fsys)
		s := lockVM(t, openCatalog(t, faulty), testVM)
		faulty.CallAt(1, func() { faulty.FailFrom(1, errors.New("dead")) }, remotetest.Remove)
		require.Error(t, s.Delete(t.Context(), pointName(1)))
		c := openCatalog(t, fsys)
		start := time.Now()
		lease, err := c.Lease(t.Context(), pointName(2))
		require.NoError(t, err)
		require.Less(t, time.Since(start), 13*time.Second)
		require.NoError(t, lease.Release(t.Context()))
		_ = s.Close(t.Context())
	})
}

// A merge gives way to a reader, who then finds a disk that can be read; the next
// session finishes the merge.
func TestMergeGivesWayToAReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, fsys := newRepository(t, 3)
		require.NoError(t, fsys.Remove(t.Context(), pointName(1)))
		faulty := remotetest.NewFaulty(fsys)
		s := lockVM(t, openCatalog(t, faulty), testVM)
		c := openCatalog(t, fsys)
		leased := make(chan *catalog.Lease, 1)
		// The fourth write to a disk comes: a reader wants the point, and the storage is slow.
		faulty.CallAt(12, func() {
			go func() {
				lease, err := c.Lease(context.Background(), pointName(2))
				if err != nil {
					panic(err)
				}
				leased <- lease
			}()
		}, remotetest.Mutating()...)
		faulty.DelayFrom(13, 500*time.Millisecond, remotetest.Mutating()...)
		report, err := s.Merge(t.Context(), nil)
		require.NoError(t, err)
		require.ErrorIs(t, report.Left[0].Err, catalog.ErrLeased)
		lease := <-leased
		faulty.Heal()
		got, err := m.check(t.Context(), fsys)
		require.NoError(t, err)
		require.Equal(t, dates(2, 3), got)
		require.NoError(t, lease.Release(t.Context()))
		report, err = s.Merge(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, report.Merged, 2)
		require.NoError(t, s.Close(t.Context()))
	})
}

// Readers restore all points, again and again, while backups, retention and merges
// go on: each gets the content, or hears before the first byte that the point is gone.
func TestReadersAndRetentionAtTheSameTime(t *testing.T) {
	rounds, _ := amount(t, "XENBACKUP_READERS", 12)
	synctest.Test(t, func(t *testing.T) {
		m, fsys := newRepository(t, 3)
		c := openCatalog(t, fsys)
		done := make(chan struct{})
		read, gone := 0, 0
		history := m.clone().history
		failed := make(chan error, 1)
		go func() {
			defer close(failed)
			for {
				select {
				case <-done:
					return
				default:
				}
				for p, err := range c.Points(context.Background(), testVM) {
					if err != nil {
						failed <- err
						return
					}
					want, known := history[historyKey(0, p.Time())]
					if !known {
						want = nil
					}
					ok, err := restoreOnce(c, p, want)
					if err != nil {
						failed <- fmt.Errorf("%s: %w", p.ID, err)
						return
					}
					if ok {
						read++
					} else {
						gone++
					}
				}
				<-time.After(time.Second) // in the time of the test
			}
		}()
		for range rounds {
			committed, err := m.backup(t.Context(), fsys, 2)
			require.NoError(t, err)
			require.True(t, committed)
			s := lockVM(t, c, testVM)
			_, err = s.Merge(t.Context(), nil)
			require.NoError(t, err)
			require.NoError(t, s.Close(t.Context()))
			<-time.After(700 * time.Millisecond)
		}
		close(done)
		require.NoError(t, <-failed)
		t.Logf("%d restored, %d gone before the first byte", read, gone)
		require.NotZero(t, read)
		disks := 0
		for _, name := range listFiles(t, fsys, testVMDir) {
			if path.Ext(name) == ".vhd" {
				disks++
			}
		}
		require.Less(t, disks, rounds+3, "nothing was merged")
	})
}

// restoreOnce reads all disks of a point under a lease; ok is false when the point was
// gone before.
func restoreOnce(c *catalog.Catalog, p *catalog.Point, want []byte) (ok bool, err error) {
	ctx := context.Background()
	lease, err := c.Lease(ctx, p.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lease.Release(ctx)) }()
	for i, info := range c.Disks(p) {
		d, err := c.OpenDisk(ctx, p, info.Ref)
		if err != nil {
			return false, err
		}
		content := make([]byte, d.Size())
		for off := 0; off < len(content); off += 4096 {
			if _, err := d.ReadAt(content[off:off+4096], int64(off)); err != nil {
				return false, errors.Join(err, d.Close())
			}
			<-time.After(10 * time.Millisecond)
		}
		if err := errors.Join(d.Confirm(ctx), d.Close()); err != nil {
			return false, err
		}
		if i == 0 && want != nil && !bytes.Equal(content, want) {
			return false, errors.New("wrong content")
		}
	}
	return true, nil
}
