package nfs

import (
	"os"

	"github.com/xenbackup/xenbackup/remote"
)

// Options direct [Open]. nil and the zero value are the defaults.
type Options struct {
	// Options are those of every back end: Create, Timeout, DialContext and
	// Logger count here. A DialContext decides about the source port too.
	remote.Options

	// Port is that of the NFS service. 0 asks the host's portmapper, and is 2049
	// when that cannot tell.
	Port int
	// MountPort is that of the MOUNT service. 0 asks the host's portmapper.
	MountPort int
	// Credential is who we say we are. nil is the process's own user.
	Credential *Credential
}

// Credential is what AUTH_SYS tells a server about the caller, and the server
// believes. An export with root_squash takes user 0 for nobody.
type Credential struct {
	UID, GID uint32
	Groups   []uint32 // further ones, the first 16 of which count
	Machine  string   // name of this machine, for the server's log
}

const (
	maxGroups = 16
	nobody    = 65534 // where the operating system has no such numbers
)

// ProcessCredential is the credential of the process's user.
func ProcessCredential() *Credential {
	c := &Credential{UID: nobody, GID: nobody, Machine: "xenbackup"}
	if name, err := os.Hostname(); err == nil {
		c.Machine = name
	}
	if uid := os.Getuid(); uid >= 0 {
		c.UID, c.GID = uint32(uid), uint32(os.Getgid())
	}
	groups, _ := os.Getgroups() // none on Windows
	for _, g := range groups {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c
}
