package remote

import (
	"crypto/rand"
	"encoding/hex"
	"path"
	"strings"
)

const (
	tokenSize  = 8 // bytes of a token, twice as many hex digits
	tempSuffix = ".tmp"
)

func newToken() string {
	var b [tokenSize]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// tempName is a name beside name that nobody else uses: ".<base>.<token>.tmp".
// Xen Orchestra leaves names that begin with a dot alone, and takes files for
// metadata or disks by their suffix only.
func tempName(name string) string {
	dir, base := path.Split(name)
	return dir + "." + base + "." + newToken() + tempSuffix
}

// IsTemp reports whether name, a path or a base name, is one that [Create] gives
// to a file it has not committed yet. Such a file that is older than the process
// or the lock that could have written it is a leaving of a crash, and garbage.
func IsTemp(name string) bool {
	base := path.Base(name)
	rest, ok := strings.CutSuffix(base, tempSuffix)
	if !ok || !strings.HasPrefix(base, ".") {
		return false
	}
	dot := strings.LastIndexByte(rest, '.')
	if dot < 2 {
		return false
	}
	token, err := hex.DecodeString(rest[dot+1:])
	return err == nil && len(token) == tokenSize
}
