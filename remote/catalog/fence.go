package catalog

import (
	"context"
	"os"

	"github.com/xenbackup/xenbackup/remote"
)

// fence is a Filesystem that refuses every change once the lock is not known
// to be held any more. All changes of a [Session] go through one.
type fence struct {
	remote.Filesystem
	alive func() error
}

func (f *fence) OpenFile(ctx context.Context, name string, flag int) (remote.File, error) {
	if flag != os.O_RDONLY {
		if err := f.alive(); err != nil {
			return nil, err
		}
	}
	return f.Filesystem.OpenFile(ctx, name, flag)
}

func (f *fence) Mkdir(ctx context.Context, name string) error {
	if err := f.alive(); err != nil {
		return err
	}
	return f.Filesystem.Mkdir(ctx, name)
}

func (f *fence) Rename(ctx context.Context, oldname, newname string) error {
	if err := f.alive(); err != nil {
		return err
	}
	return f.Filesystem.Rename(ctx, oldname, newname)
}

func (f *fence) Remove(ctx context.Context, name string) error {
	if err := f.alive(); err != nil {
		return err
	}
	return f.Filesystem.Remove(ctx, name)
}

// RenameNoReplace implements remote.NoReplacer.
func (f *fence) RenameNoReplace(ctx context.Context, oldname, newname string) error {
	if err := f.alive(); err != nil {
		return err
	}
	return remote.RenameNoReplace(ctx, f.Filesystem, oldname, newname)
}

// SyncDir implements remote.DirSyncer. It changes nothing.
func (f *fence) SyncDir(ctx context.Context, name string) error {
	return remote.SyncDir(ctx, f.Filesystem, name)
}

// Declines implements remote.Decliner.
func (f *fence) Declines(capability any) bool { return !remote.Offers(f.Filesystem, capability) }
