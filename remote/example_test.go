package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net/url"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/all"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// A file appears complete, or not at all. Abort is deferred for all the ways in
// which writing can end early; after Commit it does nothing.
func ExampleCreate() {
	ctx := context.Background()
	var fsys remote.Filesystem = remotetest.NewCrash() // or local.Open, or an Opener

	write := func(name string, content func(w *remote.Writer) error) error {
		w, err := remote.Create(ctx, fsys, name)
		if err != nil {
			return err
		}
		defer func() { _ = w.Abort() }()
		if err := content(w); err != nil {
			return err
		}
		return w.Commit()
	}

	err := write("disk.vhd", func(w *remote.Writer) error {
		_, _ = w.Write([]byte("half of it"))
		return errors.New("the host went away")
	})
	fmt.Println(err)
	err = write("point.json", func(w *remote.Writer) error {
		_, err := fmt.Fprint(w, "{}")
		return err
	})
	fmt.Println(err)
	entries, err := fsys.ReadDir(ctx, ".")
	fmt.Println(entries, err)
	// Output:
	// the host went away
	// <nil>
	// [- point.json] <nil>
}

func ExampleAcquireLock() {
	ctx := context.Background()
	fsys := remotetest.NewCrash()
	if err := remote.MkdirAll(ctx, fsys, "xo-vm-backups/vm"); err != nil {
		log.Fatal(err)
	}

	lock, err := remote.AcquireLock(ctx, fsys, "xo-vm-backups/vm", nil)
	if err != nil {
		log.Fatal(err)
	}
	_, err = remote.AcquireLock(ctx, fsys, "xo-vm-backups/vm", &remote.LockOptions{Wait: -1})
	fmt.Println("a second one:", err)

	fmt.Println("before a change:", lock.Err())
	fmt.Println("before what cannot be undone:", lock.Check(ctx))
	fmt.Println("at the end:", lock.Release(ctx))
	fmt.Println("after it:", lock.Err())
	// Output:
	// a second one: lock xo-vm-backups/vm: remote: locked
	// before a change: <nil>
	// before what cannot be undone: <nil>
	// at the end: <nil>
	// after it: remote: lock lost: released
}

// A storage is known again by its identity, whatever the path that leads to it.
func ExampleIdentify() {
	ctx := context.Background()
	fsys := remotetest.NewCrash()
	id, err := remote.Identify(ctx, fsys)
	fmt.Println(len(id), err)
	fmt.Println(remote.CheckIdentity(ctx, fsys, id))

	emptyMountPoint := remotetest.NewCrash()
	fmt.Println(remote.CheckIdentity(ctx, emptyMountPoint, id))
	// Output:
	// 26 <nil>
	// <nil>
	// remote: not the storage it should be: no .xenbackup/id in it, is it mounted?
}

// A remote that Xen Orchestra knows, in our terms.
func ExampleParseXO() {
	r, err := remote.ParseXO("smb://backup:s3cr3t@WORKGROUP\\\\nas\\share\x00xen\\vms?useVhdDirectory=true")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.URL)
	fmt.Println(r.Password, len(r.Password), string(r.Settings["useVhdDirectory"]))
	opts := r.Options(nil) // for Opener.Open
	fmt.Println(string(opts.Password))
	// Output:
	// smb://WORKGROUP;backup@nas/share/xen/vms
	// *** 6 true
	// s3cr3t
}

// The standard library reads a storage through its fs.FS.
func ExampleFS() {
	ctx := context.Background()
	fsys := remotetest.NewCrash()
	_ = remote.MkdirAll(ctx, fsys, "xo-vm-backups/vm")
	_ = remote.WriteFile(ctx, fsys, "xo-vm-backups/vm/20260101T000000Z.json", []byte("{}"))

	names, err := fs.Glob(remote.FS(ctx, fsys), "xo-vm-backups/*/*.json")
	fmt.Println(names, err)
	err = remote.Walk(ctx, fsys, "xo-vm-backups", func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			fmt.Println(name, d.IsDir())
		}
		return err
	})
	fmt.Println(err)
	// Output:
	// [xo-vm-backups/vm/20260101T000000Z.json] <nil>
	// xo-vm-backups true
	// xo-vm-backups/vm true
	// xo-vm-backups/vm/20260101T000000Z.json false
	// <nil>
}

// Decorators are combined: a slow line that breaks now and then, shared with others.
func ExampleRetry() {
	ctx := context.Background()
	faulty := remotetest.NewFaulty(remotetest.NewCrash())
	fsys := remote.Retry(remote.Limit(faulty, remote.Limits{WriteBytesPerSecond: 10 << 20, Parallel: 8}), nil)

	faulty.FailAt(1, remote.ErrUnavailable, remotetest.Rename)
	fmt.Println(remote.WriteFile(ctx, fsys, "f", []byte("x")), faulty.Fired())
	err := remote.ReadOnly(fsys).Remove(ctx, "f")
	fmt.Println(err)
	// Output:
	// <nil> 1
	// remove f: permission denied
}

// An Opener with a scheme of one's own beside those of this module.
func ExampleOpener() {
	opener := all.Opener()
	opener.Schemes["mem"] = func(_ context.Context, u *url.URL, _ *remote.Options) (remote.Filesystem, error) {
		if u.Host == "" {
			return nil, errors.New("a mem URL names its tree, such as mem://test")
		}
		return remotetest.NewCrash(), nil
	}

	ctx := context.Background()
	fsys, err := opener.Open(ctx, "mem://test", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer fsys.Close()
	fmt.Println(remote.WriteFile(ctx, fsys, "f", []byte("x")))

	_, err = opener.Open(ctx, "mem:", nil)
	fmt.Println(err)
	_, err = opener.Open(ctx, "/srv/backups", nil)
	fmt.Println(errors.Is(err, errors.ErrUnsupported)) // a path is no URL
	// Output:
	// <nil>
	// open mem:: a mem URL names its tree, such as mem://test
	// true
}
