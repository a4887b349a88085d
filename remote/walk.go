package remote

import (
	"context"
	"io/fs"
)

// Walk calls fn for name and all below it, in ascending order of the names, as
// [fs.WalkDir] does, with its [fs.SkipDir] and [fs.SkipAll]. The paths are names
// of fsys. What could not be listed comes to fn as an error, and is unknown, not
// absent.
func Walk(ctx context.Context, fsys Filesystem, name string, fn fs.WalkDirFunc) error {
	return fs.WalkDir(FS(ctx, fsys), name, fn)
}
