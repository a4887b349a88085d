package nfs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
)

const timeout = time.Minute

// stage is the test inside a bubble.
type stage struct{ *testing.T }

// bubble runs a test with the time of its own that stands still while anything
// can go on.
func bubble(t *testing.T, test func(t stage, s *script, f *FS)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		test(stage{t}, s, openScript(t, s, timeout))
	})
}

func took(since time.Time) time.Duration { return time.Since(since) }

func TestASilentServerIsGivenUpAfterTheTimeout(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		nothing := func(*decoder, *encoder) fate { return silence }
		for _, procedure := range []uint32{procNull, procLookup} {
			s.set(procedure, nothing)
		}
		begun := time.Now()
		_, err := f.Stat(t.Context(), "x")
		require.ErrorIs(t, err, remote.ErrUnavailable)
		require.ErrorContains(t, err, "server:1")
		require.InDelta(t, timeout, took(begun), float64(timeout/4))
		require.Equal(t, 1, s.count(procLookup))

		s.set(procLookup, newScript().answers[[2]uint32{programNFS, procLookup}])
		_, err = f.Stat(t.Context(), "x")
		require.NoError(t, err, "it is back")
	})
}

func TestAServerThatIsBusyButAliveIsWaitedFor(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		file, err := f.OpenFile(t.Context(), "x", os.O_RDWR)
		require.NoError(t, err)
		_, err = file.WriteAt(make([]byte, 10), 0)
		require.NoError(t, err)
		done := make(chan struct{})
		s.set(procCommit, func(*decoder, *encoder) fate { close(done); return silence })
		failed := make(chan error, 1)
		go func() { failed <- file.Sync() }()
		<-done
		time.Sleep(5 * timeout) //nolint:forbidigo // of the bubble's time
		synctest.Wait()
		require.Empty(t, failed)
		require.GreaterOrEqual(t, s.count(procNull), 5)
		require.ErrorIs(t, <-failed, remote.ErrUnavailable, "a call that is never answered is given up in the end")
	})
}

func TestAnIdleConnectionIsKeptAlive(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		time.Sleep(10 * timeout) //nolint:forbidigo // of the bubble's time
		synctest.Wait()
		require.Greater(t, s.count(procNull), 10)
		require.Equal(t, 2, s.dials, "MOUNT and NFS")
		_, err := f.Stat(t.Context(), "x")
		require.NoError(t, err)
	})
}

func TestAnUnreachableServerIsTriedUntilTheTimeoutAndNotTooOften(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		s.hangUpAll(syscall.ECONNREFUSED)
		begun := time.Now()
		_, err := f.ReadDir(t.Context(), ".")
		require.ErrorIs(t, err, remote.ErrUnavailable)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.InDelta(t, timeout, took(begun), float64(timeout/10))
		require.Less(t, s.dials, 60)
	})
}

func TestCallsGoOnWhenTheServerIsBackInTime(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		file, err := f.OpenFile(t.Context(), "x", os.O_RDONLY)
		require.NoError(t, err)
		s.hangUpAll(syscall.ECONNREFUSED)
		time.AfterFunc(timeout/2, func() { s.hangUpAll(nil) })
		results := make(chan error)
		for range 20 {
			go func() {
				n, err := file.ReadAt(make([]byte, 1000), 0)
				if err == nil && n != 1000 {
					err = errors.New("short")
				}
				results <- err
			}()
		}
		for range 20 {
			require.NoError(t, <-results)
		}
		require.Equal(t, 1, f.client.bulk.generation, "one connection for all")
	})
}

func TestTheEndOfAContextEndsACallAtOnceAndNothingElse(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		cause := errors.New("the caller went away")
		sent := make(chan struct{})
		s.set(procLookup, func(*decoder, *encoder) fate { close(sent); return silence })
		ctx, cancel := context.WithCancelCause(t.Context())
		begun := time.Now()
		go func() {
			<-sent
			cancel(cause)
		}()
		_, err := f.Stat(ctx, "x")
		require.ErrorIs(t, err, cause)
		require.Zero(t, took(begun))
		s.set(procLookup, newScript().answers[[2]uint32{programNFS, procLookup}])
		_, err = f.Stat(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, 1, f.client.session.generation, "the connection is the same")
	})
}

func TestTheEndOfAContextEndsACallThatCannotEvenBeSent(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		file, err := f.OpenFile(t.Context(), "x", os.O_RDWR)
		require.NoError(t, err)
		_ = file
		var frozen atomic.Bool
		release := make(chan struct{})
		s.set(procNull, func(*decoder, *encoder) fate {
			frozen.Store(true)
			<-release
			return hangUp
		})
		time.Sleep(timeout * 3 / 4) //nolint:forbidigo // of the bubble's time: a probe is sent, and the server reads no more
		synctest.Wait()
		require.True(t, frozen.Load())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err = f.Stat(ctx, "x")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.InDelta(t, time.Second, took(begun), float64(sendSlice))
		close(release)
	})
}

func TestAServerThatAsksForPatienceGetsIt(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		honest := newScript().answers
		var asked atomic.Int32
		for _, procedure := range []uint32{procLookup, procRead} {
			s.set(procedure, func(args *decoder, e *encoder) fate {
				if asked.Add(1)%3 != 0 {
					return failing(errJukebox)(args, e)
				}
				return honest[[2]uint32{programNFS, procedure}](args, e)
			})
		}
		data, err := remote.ReadFile(t.Context(), f, "x", fileSize)
		require.NoError(t, err)
		require.Len(t, data, fileSize)

		s.set(procLookup, failing(errJukebox))
		_, err = f.Stat(t.Context(), "x")
		require.ErrorIs(t, err, remote.ErrUnavailable, "but not for ever")
	})
}

func TestDataThatARestartedServerMayHaveDroppedIsLost(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		file, err := f.OpenFile(t.Context(), "x", os.O_RDWR|os.O_CREATE|os.O_EXCL)
		require.NoError(t, err)
		_, err = file.WriteAt(make([]byte, 10), 0)
		require.NoError(t, err)
		require.NoError(t, file.Sync())
		_, err = file.WriteAt(make([]byte, 10), 10)
		require.NoError(t, err)
		s.hangUpAll(nil)
		s.set(procCommit, ok(func(e *encoder) { e.testWcc(); e.fixed([]byte("new life")) }))
		require.ErrorIs(t, file.Sync(), remote.ErrLost)
		require.ErrorIs(t, file.Sync(), remote.ErrLost, "and stays lost")
		_, err = file.WriteAt(make([]byte, 10), 0)
		require.ErrorIs(t, err, remote.ErrLost)
	})
}

func TestARestartAfterASyncLosesNothing(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		file, err := f.OpenFile(t.Context(), "x", os.O_RDWR|os.O_CREATE|os.O_EXCL)
		require.NoError(t, err)
		_, err = file.WriteAt(make([]byte, 10), 0)
		require.NoError(t, err)
		require.NoError(t, file.Sync())
		s.hangUpAll(nil)
		s.set(procWrite, func(args *decoder, e *encoder) fate {
			args.handle()
			args.uint64()
			e.uint32(0)
			e.testWcc()
			e.uint32(args.uint32())
			e.uint32(uint32(unstable))
			e.fixed([]byte("new life"))
			return send
		})
		s.set(procCommit, ok(func(e *encoder) { e.testWcc(); e.fixed([]byte("new life")) }))
		_, err = file.WriteAt(make([]byte, 10), 10)
		require.NoError(t, err)
		require.NoError(t, file.Sync())
	})
}

func TestUseAfterCloseIsErrClosed(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		waiting := make(chan struct{})
		s.set(procLookup, func(*decoder, *encoder) fate { close(waiting); return silence })
		failed := make(chan error)
		go func() {
			_, err := f.Stat(t.Context(), "x")
			failed <- err
		}()
		<-waiting
		require.NoError(t, f.Close())
		require.ErrorIs(t, <-failed, fs.ErrClosed)
		_, err := f.Stat(t.Context(), "x")
		require.ErrorIs(t, err, fs.ErrClosed)
	})
}

func TestOnlyTheVeryFileIsFoundAgainWhenItsHandleIsStale(t *testing.T) {
	bubble(t, func(t stage, s *script, f *FS) {
		honest := newScript().answers
		file, err := f.OpenFile(t.Context(), "x", os.O_RDONLY)
		require.NoError(t, err)
		writer, err := f.OpenFile(t.Context(), "x", os.O_RDWR)
		require.NoError(t, err)
		stale := func() {
			first := true
			s.set(procRead, func(args *decoder, e *encoder) fate {
				if first {
					first = false
					return failing(errStale)(args, e)
				}
				return honest[[2]uint32{programNFS, procRead}](args, e)
			})
		}
		stale()
		_, err = file.ReadAt(make([]byte, 10), 0)
		require.NoError(t, err)
		stale()
		_, err = writer.ReadAt(make([]byte, 10), 0)
		require.ErrorIs(t, err, syscall.ESTALE)
		require.ErrorIs(t, err, remote.ErrUnavailable)
		s.set(procLookup, ok(func(e *encoder) {
			e.opaque([]byte{3})
			e.bool(true)
			e.testAttr(typeRegular, fileSize+1)
			e.bool(false)
		}))
		stale()
		_, err = file.ReadAt(make([]byte, 10), 0)
		require.ErrorIs(t, err, syscall.ESTALE, "another file has the name")
	})
}

func TestAnErrorOfOpenNamesWhatCouldNotBeReached(t *testing.T) {
	for _, c := range []struct {
		what string
		part remote.Part
		kind error
		text string
		make func(s *script)
	}{
		{"host", remote.PartHost, remote.ErrUnavailable, "server:2", func(s *script) { s.refuse = syscall.ECONNREFUSED }},
		{"export", remote.PartShare, fs.ErrPermission, "/export of server", func(s *script) {
			s.answers[[2]uint32{programMount, procMount}] = failing(errAcces)
		}},
		{"Kerberos", remote.PartShare, errors.ErrUnsupported, "file://", func(s *script) {
			s.answers[[2]uint32{programMount, procMount}] = ok(func(e *encoder) {
				e.opaque([]byte{1})
				e.uint32(1)
				e.uint32(390003)
			})
		}},
		{"a folder that is a file", remote.PartFolder, syscall.ENOTDIR, "export in export /", func(s *script) {
			honest := s.answers[[2]uint32{programMount, procMount}]
			s.answers[[2]uint32{programMount, procMount}] = func(args *decoder, e *encoder) fate {
				if string(args.opaque(100)) != "/" {
					return failing(errNoEnt)(args, e)
				}
				return honest(args, e)
			}
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newScript()
			c.make(s)
			_, err := tryOpenScript(t, s, time.Minute)
			var unreachable *remote.UnreachableError
			require.ErrorAs(t, err, &unreachable)
			require.Equal(t, c.part, unreachable.Part)
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.text)
			s.served.Wait()
		})
	}
}
