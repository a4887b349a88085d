package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"path"
	"strings"
	"time"
)

// ownersDir holds one record per lock that is held, "<escaped name>.json", or a hash
// for the end of a long name. Xen Orchestra leaves dot files at the root of a
// repository alone.
const ownersDir = ".xenbackup/locks"

// ownerLimit bounds a record that is read; ours have some 200 bytes.
const ownerLimit = 4 << 10

// lockOwner says which process holds a lock, in terms that only processes of the
// same boot of the same machine can judge.
type lockOwner struct {
	Process process `json:"process"`
	// FractionNS is the fraction of a second in the modification time of the lock
	// directory this record belongs to, in nanoseconds: another lock under the
	// same name has another one.
	FractionNS int64 `json:"fraction_ns"`
}

// maxOwnerName leaves room for what a temporary name has more, in the 255 bytes of
// most storages.
const maxOwnerName = 200

func ownerName(name string) string {
	base := url.PathEscape(name)
	if len(base) > maxOwnerName {
		sum := sha256.Sum256([]byte(name))
		base = base[:maxOwnerName/2] + "-" + hex.EncodeToString(sum[:16])
	}
	return path.Join(ownersDir, base+".json")
}

// writeOwner returns the name of the record, empty where processes cannot be told
// apart.
func writeOwner(ctx context.Context, fsys Filesystem, name string, fraction time.Duration) (string, error) {
	self, err := currentProcess()
	if err != nil {
		if errors.Is(err, errors.ErrUnsupported) {
			return "", nil
		}
		return "", err
	}
	data, err := json.Marshal(lockOwner{Process: self, FractionNS: int64(fraction)})
	if err != nil {
		return "", err
	}
	if err := MkdirAll(ctx, fsys, ownersDir); err != nil {
		return "", err
	}
	record := ownerName(name)
	return record, WriteFile(ctx, fsys, record, data)
}

// removeLeavings removes what those have left who were killed while they wrote the
// record of this lock, or while they took the lock over: its stale directory, moved
// aside. Only the holder of the lock, the caller, does this. A directory with the
// time of ours is ours: somebody has moved it by mistake, and is about to put it
// back.
func removeLeavings(ctx context.Context, fsys Filesystem, name string, ours time.Time) error {
	entries, err := fsys.ReadDir(ctx, ownersDir)
	if err != nil {
		return ignoreNotExist(err)
	}
	like := path.Base(tempName(ownerName(name)))
	prefix := "." + path.Base(ownerName(name)) + "."
	var errs []error
	for _, e := range entries {
		if !IsTemp(e.Name()) || !strings.HasPrefix(e.Name(), prefix) || len(e.Name()) != len(like) {
			continue
		}
		if info, err := e.Info(); err != nil || (e.IsDir() && info.ModTime().Equal(ours)) {
			continue
		}
		errs = append(errs, ignoreNotExist(fsys.Remove(ctx, path.Join(ownersDir, e.Name()))))
	}
	return errors.Join(errs...)
}

// ownerIsDead reports whether the holder of the lock with this modification time
// is proven to be a process of this machine that has ended.
func ownerIsDead(ctx context.Context, fsys Filesystem, name string, mtime time.Time) bool {
	data, err := ReadFile(ctx, fsys, ownerName(name), ownerLimit)
	if err != nil {
		return false
	}
	var owner lockOwner
	if json.Unmarshal(data, &owner) != nil {
		return false
	}
	return owner.FractionNS != 0 && owner.FractionNS == int64(mtime.Nanosecond()) && owner.Process.dead()
}
