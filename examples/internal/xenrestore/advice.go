package xenrestore

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
	"github.com/xenbackup/xenbackup/remote/crypt"
	"github.com/xenbackup/xenbackup/restore"
	"github.com/xenbackup/xenbackup/vhd"
	"github.com/xenbackup/xenbackup/xapi"
)

// Advise says what to do about an error; "" where the error says it.
func Advise(err error) string {
	if e, ok := errors.AsType[*untrusted](err); ok {
		return fmt.Sprintf("%s shows the certificate %s; compare that with the host's console, and give it as -fingerprint.", e.host, e.shown.Certificate)
	}
	for _, a := range adviceTable() {
		if errors.Is(err, a.about) {
			return a.text
		}
	}
	if e, ok := errors.AsType[*remote.UnreachableError](err); ok && e.Part == remote.PartFolder && errors.Is(err, fs.ErrNotExist) {
		return "Is it mounted, and the URL right? init begins a new repository there."
	}
	_, point := errors.AsType[*backupError](err)
	if point && errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoPoints) || errors.Is(err, catalog.ErrInvalidName) {
		return "xenrestore list shows what there is; an ID looks like xo-vm-backups/<vm>/<date>.json."
	}
	if _, ok := errors.AsType[*catalog.PointError](err); ok {
		return "The metadata of this point cannot be read; other points of the VM may be whole: see list."
	}
	if _, ok := errors.AsType[*volumeError](err); ok {
		return "files ls -backup ID lists the volumes, and says of those without files why."
	}
	if _, ok := errors.AsType[*pathError](err); ok {
		return "files ls and files find show what there is; big and small letters may differ."
	}
	if errors.Is(err, fs.ErrExist) {
		return "-force replaces a file that is there."
	}
	return ""
}

type advice struct {
	about error
	text  string
}

// adviceTable has the special before the general.
func adviceTable() []advice {
	return []advice{
		{catalog.ErrEncrypted, "Put the key into $" + envKey + ", or name its file with -key-file."},
		{crypt.ErrKey, "The key is 32 characters, as they were when the repository was begun; look at $" + envKey + " and -key-file."},
		{crypt.ErrNotEncrypted, "Take the key away: unset $" + envKey + ", and give no -key-file."},
		{crypt.ErrOccupied, "Name an empty directory: what is there already cannot be encrypted in place."},
		{crypt.ErrUnfinished, "init -encrypt finishes it, with the same key or another one."},
		{restore.ErrUnknownDisk, "show -backup ID lists the disks; either of their uuids will do."},
		{restore.ErrUnknownSR, "On a host, xe sr-list shows the SRs of the pool. Nothing was changed."},
		{xapi.ErrSRFull, "The SR has no room: name another one with -sr or -map. What was made has been removed."},
		{xapi.ErrAuthenticationFailed, "Look at -user, and at the password in $" + envPassword + " or its file."},
		{xapi.ErrUnreachable, "Look at -pool: the URL of the pool's master, such as https://host, and whether this machine reaches it."},
		{catalog.ErrSequential, "Restore the disks with disk -o, or the VM: files come out of delta points, and of archives that are neither compressed nor encrypted."},
		{catalog.ErrLeased, "Somebody restores from this VM, or verifies it; try again when that is over."},
		{catalog.ErrExpired, "The point was deleted meanwhile: take another one."},
		{vhd.ErrChanged, "The disks were merged meanwhile: try again."},
		{catalog.ErrDamaged, "verify -level data tells which points are whole."},
		{crypt.ErrTampered, "verify -level data tells which points are whole."},
		{vhd.ErrParentNotFound, "A disk that others stand on is missing; clean says more, and verify which points are whole."},
		{catalog.ErrVerifyState, "Remove the file of -state, or name another one."},
		{remote.ErrLocked, "A backup, or Xen Orchestra, works on this VM; try again when that is over."},
		{remote.ErrNoSpace, "The storage is full."},
		{syscall.ENOSPC, "The disk that -o is on is full; nothing was left there."},
		{syscall.EPIPE, "Whoever read the output has stopped reading it."},
		{remote.ErrOtherStorage, "Is it mounted?"},
		{remote.ErrUnavailable, "The storage does not answer: look at -remote, and whether this machine reaches it."},
	}
}
