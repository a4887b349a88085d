package remote_test

import (
	"context"
	"errors"
	"fmt"
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
