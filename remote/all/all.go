// Package all opens repositories by URL, with every back end of this module.
//
//	file:///srv/backups    a directory of this machine (package local)
//	nfs://nas/export/xo    a directory of an NFSv3 server (package nfs)
//	smb://user@nas/xo      a share, or a folder of one (package smb)
//
// It is a package of its own so that who needs one back end does not link all of
// them, and so that package remote imports none.
package all

import (
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/local"
	"github.com/xenbackup/xenbackup/remote/nfs"
	"github.com/xenbackup/xenbackup/remote/smb"
)

// Opener knows the schemes of the package documentation. Each call returns a new
// one; add schemes of your own to its map.
func Opener() *remote.Opener {
	return &remote.Opener{Schemes: map[string]remote.OpenFunc{
		"file": local.OpenURL,
		"nfs":  nfs.OpenURL,
		"smb":  smb.OpenURL,
	}}
}
