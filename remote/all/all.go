// Package all opens repositories by URL, with every back end of this module.
//
//	file:///srv/backups    a directory of this machine (package local)
//
// It is a package of its own so that who needs one back end does not link all of
// them, and so that package remote imports none.
package all

import (
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
)

// Opener knows the schemes of the package documentation. Each call returns a new
// one; add schemes of your own to its map.
func Opener() *remote.Opener {
	return &remote.Opener{Schemes: map[string]remote.OpenFunc{"file": local.OpenURL}}
}
