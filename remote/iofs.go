package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
)

// FS is fsys for reading, as an [fs.FS] that the standard library understands:
// fs.WalkDir, fs.Glob, http.FS, archive/tar. It is also an fs.StatFS, an
// fs.ReadDirFS and an fs.ReadFileFS, and its files are io.ReaderAt and io.Seeker.
// ctx governs all that is done through it. Sequential reading is read ahead as by
// [NewReader].
func FS(ctx context.Context, fsys Filesystem) fs.FS { return &ioFS{ctx, fsys} }

type ioFS struct {
	ctx  context.Context //nolint:containedctx // fs.FS has no place for it
	fsys Filesystem
}

var (
	_ fs.StatFS     = (*ioFS)(nil)
	_ fs.ReadDirFS  = (*ioFS)(nil)
	_ fs.ReadFileFS = (*ioFS)(nil)
)

// Open implements fs.FS.
func (f *ioFS) Open(name string) (fs.File, error) {
	info, err := f.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return &ioDir{fs: f, name: name, info: info}, nil
	}
	file, err := f.fsys.OpenFile(f.ctx, name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	if info, err = file.Stat(); err != nil {
		_ = file.Close()
		return nil, err
	}
	return &ioFile{
		SectionReader: io.NewSectionReader(file, 0, info.Size()),
		ahead:         NewReader(file, 0, info.Size(), f.fsys.Properties()),
		file:          file, name: name, info: info,
	}, nil
}

// Stat implements fs.StatFS.
func (f *ioFS) Stat(name string) (fs.FileInfo, error) {
	info, err := f.fsys.Stat(f.ctx, name)
	if err == nil && name == "." {
		info = rootInfo{info} // whatever the directory is called elsewhere
	}
	return info, err
}

// ReadDir implements fs.ReadDirFS.
func (f *ioFS) ReadDir(name string) ([]fs.DirEntry, error) { return f.fsys.ReadDir(f.ctx, name) }

// ReadFile implements fs.ReadFileFS, without a limit other than memory. It takes
// memory for what comes, not for what a server says will come.
func (f *ioFS) ReadFile(name string) ([]byte, error) {
	r, err := OpenReader(f.ctx, f.fsys, name)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	content.Grow(int(min(r.Remaining(), defaultIOSize)) + bytes.MinRead)
	_, err = content.ReadFrom(r)
	return content.Bytes(), errors.Join(err, r.Close())
}

type rootInfo struct{ fs.FileInfo }

// Name implements fs.FileInfo.
func (rootInfo) Name() string { return "." }

// ioFile is an open file: Read and WriteTo are read ahead until somebody seeks.
type ioFile struct {
	*io.SectionReader

	ahead  *Reader // nil once somebody has sought
	file   File
	name   string
	info   fs.FileInfo
	closed bool
}

// Stat implements fs.File.
func (f *ioFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// Read implements fs.File.
func (f *ioFile) Read(p []byte) (int, error) {
	switch {
	case f.closed:
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: fs.ErrClosed}
	case f.ahead != nil:
		return f.ahead.Read(p)
	}
	return f.SectionReader.Read(p)
}

// Seek implements io.Seeker.
func (f *ioFile) Seek(offset int64, whence int) (int64, error) {
	if f.closed {
		return 0, &fs.PathError{Op: "seek", Path: f.name, Err: fs.ErrClosed}
	}
	if f.ahead != nil {
		if _, err := f.SectionReader.Seek(f.ahead.off, io.SeekStart); err != nil {
			return 0, err
		}
		_ = f.ahead.Close()
		f.ahead = nil
	}
	pos, err := f.SectionReader.Seek(offset, whence)
	if err != nil {
		return 0, &fs.PathError{Op: "seek", Path: f.name, Err: fs.ErrInvalid}
	}
	return pos, nil
}

// WriteTo implements io.WriterTo.
func (f *ioFile) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, struct{ io.Reader }{f}) }

// Close implements fs.File.
func (f *ioFile) Close() error {
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	if f.ahead != nil {
		_ = f.ahead.Close()
	}
	return f.file.Close()
}

// ioDir is an open directory, which lists once.
type ioDir struct {
	fs     *ioFS
	name   string
	info   fs.FileInfo
	listed bool
	rest   []fs.DirEntry
}

// Stat implements fs.File.
func (d *ioDir) Stat() (fs.FileInfo, error) { return d.info, nil }

// Read implements fs.File; a directory has no bytes.
func (d *ioDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

// Close implements fs.File.
func (d *ioDir) Close() error { return nil }

// ReadDir implements fs.ReadDirFile.
func (d *ioDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.listed {
		entries, err := d.fs.ReadDir(d.name)
		if err != nil {
			return nil, err
		}
		d.rest, d.listed = entries, true
	}
	if n > 0 && len(d.rest) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(d.rest) {
		n = len(d.rest)
	}
	page := d.rest[:n:n]
	d.rest = d.rest[n:]
	return page, nil
}
