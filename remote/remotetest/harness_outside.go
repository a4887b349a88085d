package remotetest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// brokenFor bounds how long a storage that was mended may need to work again.
const brokenFor = 60 * time.Second

// checkBreak breaks the storage while a file is being written. Published files
// survive, and are never said to be absent; the file under way is published whole
// or not at all; and the Filesystem works again.
func (h Harness) checkBreak(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, brokenFor, errors.New("not usable again in time"))
	defer cancel()
	return h.within(ctx, "break", func(s *suite) error {
		if err := s.put(ctx, "old", "published"); err != nil {
			return err
		}
		w, err := remote.Create(ctx, s.Filesystem, s.in("new"))
		if err != nil {
			return err
		}
		content := pattern(4<<20, 11)
		if _, err := w.Write(content[:len(content)/2]); err != nil {
			return err
		}
		if err := h.Break(); err != nil {
			return fmt.Errorf("break: %w", err)
		}
		written := make(chan error, 1)
		go func() {
			if _, err := w.Write(content[len(content)/2:]); err != nil {
				written <- errors.Join(err, w.Abort())
				return
			}
			written <- w.Commit()
		}()
		stat := make(chan error, 1)
		go func() {
			_, err := s.Stat(ctx, s.in("old"))
			stat <- err
		}()
		mendErr := h.Mend()
		commitErr, statErr := <-written, <-stat
		if mendErr != nil {
			return fmt.Errorf("mend: %w", mendErr)
		}
		if errors.Is(statErr, fs.ErrNotExist) {
			return fmt.Errorf("while broken, a file that exists is said not to: %w", statErr)
		}
		if err := s.recovers(ctx); err != nil {
			return fmt.Errorf("after it was mended: %w", err)
		}
		return errors.Join(s.wantContent(ctx, "old", "published"), s.wantWhole(ctx, "new", content, commitErr))
	})
}

// recovers tries until the storage works again.
func (s *suite) recovers(ctx context.Context) error {
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		err := s.put(ctx, "after", "works")
		if err == nil {
			return s.wantContent(ctx, "after", "works")
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-poll.C:
		}
	}
}

// wantWhole checks a file whose commit ended with commitErr: it is there as a
// whole, or, if the commit failed, not at all.
func (s *suite) wantWhole(ctx context.Context, name string, content []byte, commitErr error) error {
	outcome := "succeeded"
	if commitErr != nil {
		outcome = commitErr.Error()
		if _, err := s.Stat(ctx, s.in(name)); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	got, err := remote.ReadFile(ctx, s.Filesystem, s.in(name), int64(len(content))+1)
	if err == nil && string(got) != string(content) {
		err = fmt.Errorf("%d bytes of %d, or others", len(got), len(content))
	}
	if err != nil {
		return fmt.Errorf("the file that was under way (its commit: %s): %w", outcome, err)
	}
	return nil
}

// checkFull fills the storage. The old file stays, nothing temporary is left, and
// the room is free again.
func (h Harness) checkFull(ctx context.Context) error {
	const most = 65 << 20
	return h.with(ctx, h.Full, func(fsys remote.Filesystem) error {
		s := &suite{Filesystem: fsys, dir: "remotetest-full"}
		if err := errors.Join(fsys.Mkdir(ctx, s.dir), s.put(ctx, "f", "old")); err != nil {
			return err
		}
		for range 2 {
			err := s.fillUp(ctx, most)
			if err := wantErr("writing until it is full", err, remote.ErrNoSpace); err != nil {
				return err
			}
			if err := errors.Join(s.wantContent(ctx, "f", "old"), s.wantList(ctx, "f")); err != nil {
				return err
			}
		}
		return errors.Join(s.put(ctx, "f", "new"), s.wantContent(ctx, "f", "new"), remote.RemoveAll(ctx, fsys, s.dir))
	})
}

func (s *suite) fillUp(ctx context.Context, most int) error {
	w, err := remote.Create(ctx, s.Filesystem, s.in("f"))
	if err != nil {
		return err
	}
	defer func() { _ = w.Abort() }()
	piece := pattern(1<<20, 5)
	for range most / len(piece) {
		if _, err := w.Write(piece); err != nil {
			return errors.Join(err, w.Abort())
		}
	}
	return w.Commit()
}

// checkReadOnly: whatever would change the storage is fs.ErrPermission.
func (h Harness) checkReadOnly(ctx context.Context) error {
	return h.with(ctx, h.ReadOnly, func(fsys remote.Filesystem) error {
		if _, err := fsys.ReadDir(ctx, "."); err != nil {
			return err
		}
		_, openErr := fsys.OpenFile(ctx, "remotetest-new", CreateNew)
		errs := []error{
			wantErr("creating a file", openErr, fs.ErrPermission),
			wantErr("Mkdir", fsys.Mkdir(ctx, "remotetest-new"), fs.ErrPermission),
			wantErr("WriteFile", remote.WriteFile(ctx, fsys, "remotetest-new", nil), fs.ErrPermission),
		}
		if t, ok := remote.As[remote.Toucher](fsys); ok {
			errs = append(errs, wantErr("Touch", t.Touch(ctx, ".", time.Unix(1, 0)), fs.ErrPermission))
		}
		_, lockErr := remote.AcquireLock(ctx, fsys, "remotetest-new", &remote.LockOptions{Wait: -1})
		if !errors.Is(lockErr, errors.ErrUnsupported) {
			errs = append(errs, wantErr("AcquireLock", lockErr, fs.ErrPermission))
		}
		if fsys.Properties().ReadOnly {
			_, err := fsys.OpenFile(ctx, ".", os.O_RDWR)
			errs = append(errs, refused("opening for writing", err))
		}
		return errors.Join(errs...)
	})
}
