package remotetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"testing/fstest"
	"testing/iotest"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// checkFS: the standard library's own suite, on the adapter to its fs.FS.
func checkFS(ctx context.Context, s *suite) error {
	err := errors.Join(
		remote.MkdirAll(ctx, s.Filesystem, s.in("a/b")), s.Mkdir(ctx, s.in("empty")),
		s.put(ctx, "a/b/f", string(pattern(500, 9))), s.put(ctx, "g", ""))
	if err != nil {
		return err
	}
	sub, err := fs.Sub(remote.FS(ctx, s.Filesystem), s.dir)
	if err != nil {
		return err
	}
	return fstest.TestFS(sub, "a/b/f", "g", "empty")
}

// checkReaderAt: the standard library's suite for readers.
func checkReaderAt(ctx context.Context, s *suite) error {
	content := pattern(1000, 2) // it is read in pieces of a few bytes, time and again
	if err := s.put(ctx, "f", string(content)); err != nil {
		return err
	}
	f, err := s.OpenFile(ctx, s.in("f"), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	return iotest.TestReader(io.NewSectionReader(f, 0, int64(len(content))), content)
}

// checkStream: more than fits into what is under way at once, in pieces of no
// particular size, through the pipelined writer and the read-ahead reader.
func checkStream(ctx context.Context, s *suite) error {
	p := s.Properties()
	size := min(max(p.PipelineDepth, 1)+2, 12)*max(p.IOSize, 64<<10) + 13
	if p.IOSize > 1<<20 {
		size = 12<<20 + 13
	}
	content := pattern(size, 6)
	w, err := remote.Create(ctx, s.Filesystem, s.in("f"))
	if err != nil {
		return err
	}
	defer func() { _ = w.Abort() }()
	for rest, n := content, 1; len(rest) > 0; n = n*3 + 1 {
		piece := rest[:min(n, len(rest), 3<<20)]
		if _, err := w.Write(piece); err != nil {
			return err
		}
		rest = rest[len(piece):]
	}
	if err := w.Commit(); err != nil {
		return err
	}
	r, err := remote.OpenReader(ctx, s.Filesystem, s.in("f"))
	if err != nil {
		return err
	}
	var got bytes.Buffer
	_, err = io.Copy(&got, r)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if !bytes.Equal(got.Bytes(), content) {
		return fmt.Errorf("a file of %d bytes reads back with %d, or others", size, got.Len())
	}
	return s.wantList(ctx, "f")
}

// checkMetadataConcurrency: everything at once in one directory.
func checkMetadataConcurrency(ctx context.Context, s *suite) error {
	const workers, rounds = 6, 8
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for i := range workers {
		wg.Go(func() {
			for n := range rounds {
				errs[i] = errors.Join(errs[i], s.shuffle(ctx, strconv.Itoa(i)+"-"+strconv.Itoa(n)))
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, s.wantList(ctx))...)
}

// shuffle makes, moves, lists and removes what nobody else touches.
func (s *suite) shuffle(ctx context.Context, base string) error {
	if err := errors.Join(s.Mkdir(ctx, s.in(base)), s.put(ctx, base+"/f", base)); err != nil {
		return err
	}
	_, listErr := s.ReadDir(ctx, s.dir)
	return errors.Join(
		listErr,
		s.Rename(ctx, s.in(base), s.in(base+"-moved")), s.wantContent(ctx, base+"-moved/f", base),
		s.Remove(ctx, s.in(base+"-moved/f")), s.Remove(ctx, s.in(base+"-moved")))
}

// checkCancel: a caller who went away gets the reason from every method, and
// nothing is done.
func checkCancel(ctx context.Context, s *suite) error {
	cause := errors.New("the caller went away")
	ended, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f, err := s.OpenFile(ended, s.in("f"), CreateNew)
	if err != nil {
		return err
	}
	cancel(cause)
	_, readErr := f.ReadAt(make([]byte, 1), 0)
	_, writeErr := f.WriteAt([]byte{1}, 0)
	_, fileStatErr := f.Stat()
	_, statErr := s.Stat(ended, s.in("f"))
	_, listErr := s.ReadDir(ended, s.dir)
	_, openErr := s.OpenFile(ended, s.in("f"), os.O_RDONLY)
	return errors.Join(
		wantErr("ReadAt", readErr, cause), wantErr("WriteAt", writeErr, cause), wantErr("Stat of a File", fileStatErr, cause),
		wantErr("Truncate", f.Truncate(5), cause), wantErr("Sync", f.Sync(), cause),
		f.Close(), // works all the same
		wantErr("Stat", statErr, cause), wantErr("ReadDir", listErr, cause), wantErr("OpenFile", openErr, cause),
		wantErr("Mkdir", s.Mkdir(ended, s.in("d")), cause), wantErr("Remove", s.Remove(ended, s.in("f")), cause),
		wantErr("Rename", s.Rename(ended, s.in("f"), s.in("g")), cause),
		s.cancelCapabilities(ended, cause),
		s.wantList(ctx, "f"), s.wantContent(ctx, "f", ""))
}

func (s *suite) cancelCapabilities(ended context.Context, cause error) error {
	var errs []error
	if c, ok := remote.As[remote.NoReplacer](s.Filesystem); ok {
		errs = append(errs, wantErr("RenameNoReplace", c.RenameNoReplace(ended, s.in("f"), s.in("g")), cause))
	}
	if c, ok := remote.As[remote.TreeRemover](s.Filesystem); ok {
		errs = append(errs, wantErr("RemoveAll", c.RemoveAll(ended, s.in("f")), cause))
	}
	if c, ok := remote.As[remote.DirSyncer](s.Filesystem); ok {
		errs = append(errs, wantErr("SyncDir", c.SyncDir(ended, s.dir), cause))
	}
	if c, ok := remote.As[remote.Toucher](s.Filesystem); ok {
		errs = append(errs, wantErr("Touch", c.Touch(ended, s.in("f"), time.Unix(1, 0)), cause))
	}
	if c, ok := remote.As[remote.SpaceReporter](s.Filesystem); ok {
		_, err := c.Space(ended)
		errs = append(errs, wantErr("Space", err, cause))
	}
	return errors.Join(errs...)
}
