package testenv

import (
	"fmt"
	"path/filepath"
	"strings"
)

// The exports of a [Ganesha].
const (
	ExportData   = "/data"   // read and write, by root too
	ExportSquash = "/squash" // the same directory; root is nobody (root_squash)
	ExportSecure = "/secure" // the same directory; for source ports below 1024 only
	ExportRO     = "/ro"     // read-only; holds hello.txt
	ExportFull   = "/full"   // a disk of GaneshaFullSize in memory
)

// GaneshaFullSize is the size of ExportFull in bytes.
const GaneshaFullSize = 16 << 20

// Ganesha is a running NFS-Ganesha server on loopback ports of its own, started
// by [StartGanesha]. Port is that of NFS, MountPort that of MOUNT.
type Ganesha struct {
	Port      int
	MountPort int

	dir     string
	process process
}

// Dir is where the files of ExportData lie on this machine. Files must not be
// changed behind the server's back.
func (g *Ganesha) Dir() string { return filepath.Join(g.dir, "data") }

// URL is that of an export for package remote/nfs.
func (g *Ganesha) URL(export string) string {
	return fmt.Sprintf("nfs://127.0.0.1:%d%s?mountport=%d", g.Port, export, g.MountPort)
}

// LibnfsURL is that of a path for the programs of libnfs, as root.
func (g *Ganesha) LibnfsURL(path string) string {
	return fmt.Sprintf("nfs://127.0.0.1%s?nfsport=%d&mountport=%d&uid=0&gid=0&version=3", path, g.Port, g.MountPort)
}

const ganeshaExport = `EXPORT { Export_Id = %d; Path = %q; Pseudo = %q; Access_Type = %s; Squash = %s; PrivilegedPort = %t;
  Protocols = 3; Transports = TCP; SecType = sys; MaxRead = 1048576; MaxWrite = 1048576; PrefRead = 1048576; PrefWrite = 1048576;
  FSAL { Name = VFS; } }
`

func (g *Ganesha) config(lockPort int) string {
	var text strings.Builder
	fmt.Fprintf(&text, `NFS_CORE_PARAM { Bind_addr = 127.0.0.1; NFS_Port = %d; MNT_Port = %d; NLM_Port = %d; Enable_NLM = false; Enable_RQUOTA = false;
  NFS_Protocols = 3; Enable_UDP = false; mount_path_pseudo = true; fsid_device = true; }
NFSV4 { Graceless = true; RecoveryRoot = %q; }
LOG { Default_Log_Level = EVENT; }
`, g.Port, g.MountPort, lockPort, filepath.Join(g.dir, "recovery"))
	for i, e := range []struct {
		dir, export, access, squash string
		privileged                  bool
	}{
		{"data", ExportData, "RW", "No_Root_Squash", false},
		{"data", ExportSquash, "RW", "Root_Squash", false},
		{"data", ExportSecure, "RW", "No_Root_Squash", true},
		{"ro", ExportRO, "RO", "No_Root_Squash", false},
		{"full", ExportFull, "RW", "No_Root_Squash", false},
	} {
		fmt.Fprintf(&text, ganeshaExport, 10+i, filepath.Join(g.dir, e.dir), e.export, e.access, e.squash, e.privileged)
	}
	return text.String()
}
