package fsys

import "io/fs"

// Nodes is a volume seen by node. Every reader implements it. All methods are
// safe for concurrent use. Names are raw: the bytes of the volume, or UTF-8
// made of its UTF-16; they may be anything but empty, and are compared as the
// format compares them.
//
// Errors: fs.ErrNotExist where there is no such name or node,
// [ErrNotDir], [ErrCorrupt], [ErrUnsupported], [ErrEncrypted], or what the
// io.ReaderAt returned.
type Nodes interface {
	// Volume describes the volume as a whole.
	Volume() Volume

	// Warnings says what is not as the operating system would show it, and what
	// was done about it, in the order in which it was found. Most are known once
	// the volume is open.
	Warnings() []Warning

	// Root returns the topmost directory.
	Root() NodeID

	// Lookup finds the entry called name in a directory.
	Lookup(dir NodeID, name string) (Entry, error)

	// ReadDirPage returns at most n entries of a directory (n <= 0 is a page of
	// the reader's choice), without "." and "..", and the cursor of the next
	// page: start with "", and stop when it comes back empty. The order is the
	// format's own. A cursor stays good as long as the volume is open.
	//
	// Damage is reported beside the entries before it; a cursor that is not
	// empty then goes on behind it.
	ReadDirPage(dir NodeID, cursor string, n int) (entries []Entry, next string, err error)

	// Parent returns the directory that a directory says it is in; the root is
	// its own parent.
	Parent(dir NodeID) (NodeID, error)

	// StatNode describes a file of any type, without following links.
	StatNode(id NodeID) (Info, error)

	// OpenNode gives the content of a regular file; of anything else,
	// [ErrNotRegular].
	OpenNode(id NodeID) (*File, error)

	// ReadLinkNode returns the raw target of a symbolic link; of anything else,
	// fs.ErrInvalid.
	ReadLinkNode(id NodeID) (string, error)

	// Xattrs returns the extended attributes by the names that Linux gives them:
	// "user.comment", "security.capability", "system.posix_acl_access", and
	// their values as getxattr(2) returns them. Nil where there are none.
	Xattrs(id NodeID) (map[string][]byte, error)
}

// FS is what each reader gives: a volume by node and by path.
//
// The methods by path are those of [Paths].
type FS interface {
	Nodes
	fs.ReadDirFS
	fs.StatFS
	fs.ReadLinkFS
}

// Volume describes a volume.
type Volume struct {
	Type      string // "ext2", "ext3", "ext4", ...
	Label     string // as it is on disk, may be empty
	UUID      string // in the form that the format's own tools print
	Size      int64  // in bytes, as the volume says
	BlockSize int64  // unit of allocation, in bytes
}
