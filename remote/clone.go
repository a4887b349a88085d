package remote

import "errors"

// CloneRange copies n bytes from one open file to another without moving them,
// where both are of one Filesystem whose files are each a [RangeCloner]. Elsewhere,
// and where the storage cannot after all, it is [errors.ErrUnsupported], nothing
// has changed, and the caller copies.
func CloneRange(dst File, dstOff int64, src File, srcOff, n int64) error {
	c, ok := dst.(RangeCloner)
	if !ok {
		return errors.ErrUnsupported
	}
	return c.CloneRange(dstOff, src, srcOff, n)
}
