package remote

import "fmt"

// Part is the part of an address that [UnreachableError] is about.
type Part string

// The parts, in the order in which a back end comes by them.
const (
	PartHost   Part = "host"   // no connection: name, address, port, firewall, or not running
	PartLogin  Part = "login"  // the host answers, and refuses the user or the password
	PartShare  Part = "share"  // no such share or export, or this client or user may not use it
	PartFolder Part = "folder" // the share is there, the folder in it is not, or is closed to this user
)

// UnreachableError tells which part of an address could not be reached, so that
// a person knows what to mend: everything before that part works. errors.Is
// finds the cause, such as fs.ErrNotExist of a folder, fs.ErrPermission of a
// login, [ErrUnavailable] of a host.
type UnreachableError struct {
	Part Part
	Name string // of the part: host:port, user, share or export, folder
	Err  error
}

// Error names the part.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("cannot reach %s %s: %v", e.Part, e.Name, e.Err)
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }
