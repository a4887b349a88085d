package remotetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/xenbackup/xenbackup/remote"
)

// CreateNew is the flag of OpenFile that makes a file, which must not exist.
const CreateNew = os.O_RDWR | os.O_CREATE | os.O_EXCL

func checkExclusiveCreate(ctx context.Context, s *suite) error {
	const callers = 8
	var wg sync.WaitGroup
	errs := make([]error, callers)
	for i := range callers {
		wg.Go(func() {
			f, err := s.OpenFile(ctx, s.in("f"), CreateNew)
			if err == nil {
				err = f.Close()
			} else if err = wantErr("exclusive create", err, fs.ErrExist); err == nil {
				err = errLoser
			}
			errs[i] = err
		})
	}
	wg.Wait()
	winners := 0
	for _, err := range errs {
		switch {
		case err == nil:
			winners++
		case !errors.Is(err, errLoser):
			return err
		}
	}
	if winners != 1 {
		return fmt.Errorf("%d of %d concurrent exclusive creates won, want 1", winners, callers)
	}
	return nil
}

var errLoser = errors.New("somebody else created it")

func checkFile(ctx context.Context, s *suite) error {
	f, err := s.OpenFile(ctx, s.in("f"), CreateNew)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err1 := f.WriteAt([]byte("world"), 6)
	_, err2 := f.WriteAt([]byte("hello,"), 0)
	if err := errors.Join(err1, err2, f.Truncate(9), f.Sync()); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != 9 {
		return fmt.Errorf("size after Truncate(9) is %d", info.Size())
	}
	if err := errors.Join(s.wantContent(ctx, "f", "hello,wor"), f.Close()); err != nil {
		return err
	}
	r, err := s.OpenFile(ctx, s.in("f"), os.O_RDONLY)
	if err != nil {
		return err
	}
	_, err = r.WriteAt([]byte("x"), 0)
	if err := errors.Join(refused("write to a file opened for reading", err), r.Close()); err != nil {
		return err
	}
	_, err = r.ReadAt(make([]byte, 1), 0)
	if err := refused("read from a closed file", err); err != nil {
		return err
	}
	trunc, err := s.OpenFile(ctx, s.in("f"), os.O_RDWR|os.O_TRUNC)
	if err != nil {
		return err
	}
	return errors.Join(trunc.Close(), s.wantContent(ctx, "f", ""))
}

func checkReadAt(ctx context.Context, s *suite) error {
	content := pattern(3000, 7)
	if err := s.put(ctx, "f", string(content)); err != nil {
		return err
	}
	f, err := s.OpenFile(ctx, s.in("f"), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, c := range []struct {
		off  int64
		size int
		n    int
		eof  bool
	}{{0, 3000, 3000, false}, {0, 1, 1, false}, {2999, 1, 1, false}, {2990, 20, 10, true}, {3000, 1, 0, true}, {1 << 33, 1, 0, true}} {
		buf := make([]byte, c.size)
		n, err := f.ReadAt(buf, c.off)
		if n != c.n || (c.eof && !errors.Is(err, io.EOF)) || (!c.eof && err != nil && !errors.Is(err, io.EOF)) {
			return fmt.Errorf("ReadAt of %d bytes at %d: %d, %w", c.size, c.off, n, err)
		}
		if n > 0 && !bytes.Equal(buf[:n], content[c.off:c.off+int64(n)]) {
			return fmt.Errorf("ReadAt of %d bytes at %d: wrong content", c.size, c.off)
		}
	}
	_, err = f.ReadAt(make([]byte, 1), -1)
	return refused("ReadAt of a negative offset", err)
}

// checkSparse also tells whether the gap of a write beyond the end reads as zeros.
func checkSparse(ctx context.Context, s *suite) error {
	f, err := s.OpenFile(ctx, s.in("f"), CreateNew)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(8192); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte{1}, 20000); err != nil {
		return err
	}
	want := append(make([]byte, 20000), 1)
	return s.wantContent(ctx, "f", string(want))
}

// checkOpenTarget: replacing and removing what is open works, or is refused and
// has changed nothing.
func checkOpenTarget(ctx context.Context, s *suite) error {
	if err := errors.Join(s.put(ctx, "a", "new"), s.put(ctx, "b", "old")); err != nil {
		return err
	}
	f, err := s.OpenFile(ctx, s.in("b"), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	err = s.Rename(ctx, s.in("a"), s.in("b"))
	switch {
	case err == nil:
		err = s.wantContent(ctx, "b", "new")
	case s.Properties().ReplaceOpenTarget:
		return fmt.Errorf("rename over an open file: %w", err)
	default:
		err = errors.Join(s.wantContent(ctx, "a", "new"), s.wantContent(ctx, "b", "old"))
	}
	if err != nil {
		return err
	}
	switch err := s.Remove(ctx, s.in("b")); {
	case err == nil && s.Properties().ReplaceOpenTarget:
		_, err = s.Stat(ctx, s.in("b"))
		return wantErr("Stat of what was removed while open", err, fs.ErrNotExist)
	case err != nil && s.Properties().ReplaceOpenTarget:
		return fmt.Errorf("remove of an open file: %w", err)
	}
	return nil
}

func checkWriter(ctx context.Context, s *suite) error {
	content := string(pattern(100_001, 3))
	if err := errors.Join(s.put(ctx, "f", "old"), s.put(ctx, "f", content), s.wantContent(ctx, "f", content)); err != nil {
		return err
	}
	w, err := remote.Create(ctx, s.Filesystem, s.in("f"))
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte("never")); err != nil {
		return err
	}
	if err := errors.Join(w.Abort(), w.Abort(), s.wantContent(ctx, "f", content), s.wantList(ctx, "f")); err != nil {
		return err
	}
	if w, err = remote.Create(ctx, s.Filesystem, s.in("f")); err != nil {
		return err
	}
	return errors.Join(
		wantErr("CommitNew of a name that exists", w.CommitNew(), fs.ErrExist),
		s.wantContent(ctx, "f", content), s.wantList(ctx, "f"))
}

func checkConcurrency(ctx context.Context, s *suite) error {
	const workers, piece = 4, 64 << 10
	f, err := s.OpenFile(ctx, s.in("f"), CreateNew)
	if err != nil {
		return err
	}
	defer f.Close()
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for i := range workers {
		wg.Go(func() {
			want := pattern(piece, byte(i))
			got := make([]byte, piece)
			_, writeErr := f.WriteAt(want, int64(i*piece))
			_, readErr := f.ReadAt(got, int64(i*piece))
			if errors.Is(readErr, io.EOF) {
				readErr = nil
			}
			if errs[i] = errors.Join(writeErr, readErr); errs[i] == nil && !bytes.Equal(got, want) {
				errs[i] = fmt.Errorf("writer %d of %d at once reads something else", i, workers)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
