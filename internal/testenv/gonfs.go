package testenv

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"os"
	"path"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-git/go-billy/v5"
	gonfs "github.com/willscott/go-nfs"
)

// GoNFS is [ServeNFS] that ends with the test. It returns the port.
func GoNFS(tb testing.TB, dir string) int {
	tb.Helper()
	port, stop, err := ServeNFS(dir)
	if err != nil {
		tb.Fatalf("serve %s by NFS: %v", dir, err)
	}
	tb.Cleanup(stop)
	return port
}

// ServeNFS serves a directory by NFSv3 with github.com/willscott/go-nfs, in this
// process and on one loopback port for both NFS and MOUNT. Any export path is that
// directory.
//
// It has no exclusive creation, no unstable writes and an odd idea of some
// errors, all of which a client must cope with.
func ServeNFS(dir string) (port int, stop func(), err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // does not block
	if err != nil {
		return 0, nil, errors.Join(err, root.Close())
	}
	quietGoNFS()
	var served sync.WaitGroup
	served.Go(func() {
		_ = gonfs.Serve(listener, &goNFSHandler{fs: &billyDir{root: root}, paths: map[uint64][]string{}, ids: map[string]uint64{}})
	})
	stop = func() {
		_ = listener.Close()
		served.Wait()
		_ = root.Close() // nothing was written through it
	}
	return listener.Addr().(*net.TCPAddr).Port, stop, nil
}

// quietGoNFS keeps the server from printing each error it answers with.
var quietGoNFS = sync.OnceFunc(func() { gonfs.Log.SetLevel(gonfs.PanicLevel) })

// goNFSHandler gives every path a number, which is its handle.
type goNFSHandler struct {
	fs *billyDir

	mu    sync.Mutex
	last  uint64
	paths map[uint64][]string
	ids   map[string]uint64
}

func (h *goNFSHandler) Mount(context.Context, net.Conn, gonfs.MountRequest) (gonfs.MountStatus, billy.Filesystem, []gonfs.AuthFlavor) {
	return gonfs.MountStatusOk, h.fs, []gonfs.AuthFlavor{gonfs.AuthFlavorNull}
}

func (h *goNFSHandler) Change(billy.Filesystem) billy.Change { return h.fs }

func (h *goNFSHandler) FSStat(context.Context, billy.Filesystem, *gonfs.FSStat) error { return nil }

func (h *goNFSHandler) ToHandle(_ billy.Filesystem, elements []string) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	name := path.Join(elements...)
	id, ok := h.ids[name]
	if !ok {
		h.last++
		id = h.last
		h.ids[name], h.paths[id] = id, slices.Clone(elements)
	}
	return binary.BigEndian.AppendUint64(nil, id)
}

func (h *goNFSHandler) FromHandle(handle []byte) (billy.Filesystem, []string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(handle) == 8 {
		if elements, ok := h.paths[binary.BigEndian.Uint64(handle)]; ok {
			return h.fs, slices.Clone(elements), nil
		}
	}
	return nil, nil, &gonfs.NFSStatusError{NFSStatus: gonfs.NFSStatusStale}
}

func (h *goNFSHandler) InvalidateHandle(_ billy.Filesystem, handle []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := binary.BigEndian.Uint64(handle)
	delete(h.ids, path.Join(h.paths[id]...))
	delete(h.paths, id)
	return nil
}

func (h *goNFSHandler) HandleLimit() int { return 1 << 20 }

// billyDir is a directory as go-nfs wants it.
type billyDir struct{ root *os.Root }

func local(name string) string { return path.Join(".", name) }

func (d *billyDir) Create(name string) (billy.File, error) {
	return d.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

func (d *billyDir) Open(name string) (billy.File, error) { return d.OpenFile(name, os.O_RDONLY, 0) }

func (d *billyDir) OpenFile(name string, flag int, perm os.FileMode) (billy.File, error) {
	f, err := d.root.OpenFile(local(name), flag, perm.Perm())
	if err != nil {
		return nil, err
	}
	return &billyFile{File: f, name: name}, nil
}

func (d *billyDir) ReadDir(name string) ([]os.FileInfo, error) {
	f, err := d.root.Open(local(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdir(-1)
}

func (d *billyDir) Stat(name string) (os.FileInfo, error)  { return d.root.Stat(local(name)) }
func (d *billyDir) Lstat(name string) (os.FileInfo, error) { return d.root.Lstat(local(name)) }
func (d *billyDir) Rename(from, to string) error           { return d.root.Rename(local(from), local(to)) }
func (d *billyDir) Remove(name string) error               { return d.root.Remove(local(name)) }
func (d *billyDir) Join(elem ...string) string             { return path.Join(elem...) }
func (d *billyDir) Symlink(target, name string) error      { return d.root.Symlink(target, local(name)) }
func (d *billyDir) Readlink(name string) (string, error)   { return d.root.Readlink(local(name)) }
func (d *billyDir) Root() string                           { return "/" }

func (d *billyDir) MkdirAll(name string, perm os.FileMode) error {
	return d.root.MkdirAll(local(name), perm.Perm())
}

func (d *billyDir) TempFile(string, string) (billy.File, error) { return nil, errors.ErrUnsupported }

func (d *billyDir) Chroot(string) (billy.Filesystem, error)    { return nil, errors.ErrUnsupported }
func (d *billyDir) Mknod(string, uint32, uint32, uint32) error { return errors.ErrUnsupported }
func (d *billyDir) Mkfifo(string, uint32) error                { return errors.ErrUnsupported }
func (d *billyDir) Socket(string) error                        { return errors.ErrUnsupported }
func (d *billyDir) Chmod(name string, mode fs.FileMode) error  { return d.root.Chmod(local(name), mode) }

func (d *billyDir) Lchown(name string, uid, gid int) error {
	return d.root.Lchown(local(name), uid, gid)
}

func (d *billyDir) Chown(name string, uid, gid int) error { return d.root.Chown(local(name), uid, gid) }

func (d *billyDir) Chtimes(name string, atime, mtime time.Time) error {
	return d.root.Chtimes(local(name), atime, mtime)
}
func (d *billyDir) Link(name, link string) error { return d.root.Link(local(name), local(link)) }

type billyFile struct {
	*os.File
	name string
}

func (f *billyFile) Name() string  { return f.name }
func (f *billyFile) Lock() error   { return nil }
func (f *billyFile) Unlock() error { return nil }
