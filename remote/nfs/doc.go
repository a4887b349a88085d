// Package nfs is a [remote.Filesystem] on an NFS server. It speaks NFSv3 over TCP
// itself: nothing is mounted, and no rights are needed on this machine.
//
// # Using it
//
// [Open] takes a host and a directory, which is an export or lies below one; the
// URL form is nfs://host/export/path (see [OpenURL]). The ports of the server are
// asked from its portmapper, or given. A person who gets an error from Open reads
// in it whether it was the host, the export or the folder that could not be
// reached, as a [remote.UnreachableError].
//
// The server is told the user and groups of this process, or those of a
// [Credential], and believes them (AUTH_SYS). Two settings of an export matter:
//
//   - secure, the default of Linux: the server wants source ports below 1024. They
//     are used when the process may, which takes root's rights or
//     CAP_NET_BIND_SERVICE; else the export must be set to insecure, and the error
//     says so.
//   - root_squash, also a default: user 0 is nobody there. Give a uid that may
//     write the directory, or export it with no_root_squash, as Xen Orchestra's
//     documentation advises.
//
// # What it promises
//
//   - Names. Creating, renaming and removing are durable when they return, unless
//     the server's export is async, which gives that up. SyncDir has nothing to do.
//   - Replacing. Rename replaces a file in one step, also one that is open; who
//     reads it through a handle of the old file gets an error, not a mixture.
//   - Data. WriteAt leaves the data with the server; Sync makes it durable and
//     checks that the server has not restarted in between: then some of it may be
//     gone, Sync and all later writes are [remote.ErrLost], and the file must be
//     written anew. A full disk may first show at Sync.
//   - Exclusive creation, and Mkdir, have one winner, also when the answer to them
//     was lost with a connection. RenameNoReplace is a hard link and a removal; a
//     crash between the two leaves both names.
//   - Locks are those of package remote, directories. NFS's own (NLM) are not used.
//   - Nothing but the places of directories is cached, and these for five seconds.
//     What another client of this package has synced is seen at once. The
//     operating systems' clients cache: they may see a change up to a minute late.
//
// # When the server fails
//
// A connection that breaks is made again, and what waits for an answer goes on
// over the new one; a port that the portmapper gave is asked for again when nothing
// listens there any more. Reads and writes are repeated. What must not happen twice is
// repeated only after a look at whether it has happened. A server that is silent,
// or cannot be reached, for [remote.Options.Timeout] makes the calls that wait for
// it fail with [remote.ErrUnavailable]; the Filesystem and its Files stay usable
// and go on when it is back. A server that is merely busy answers NULL calls in
// between and is waited for. The end of a context ends a call at once.
//
// A File opened for reading whose handle the server has forgotten is looked up by
// name again, and goes on if it is the same file, unchanged. One opened for writing
// fails.
//
// Everything the server says is checked: sizes, names, counts, the order of its
// answers. What breaks the rules is [ErrProtocol], and costs no more memory than an
// honest answer. Symbolic links are followed by this package, and never out of the
// directory opened.
//
// # Limits
//
// Servers without NFSv3 (Amazon EFS, Azure Files) and exports that want Kerberos
// are not covered: mount them and use file://. Owners, modes, and times before 1970
// or after 2106 are not set; files are made with mode 0644 and directories with
// 0755. Two connections are used, one for names and one, made when it is needed, for
// the data of files, so that a lock is refreshed in time however much data is on its
// way over a slow link. A server that refuses the second is asked for it again after
// five minutes, and meanwhile names wait behind data. Up to eight transfers of 1 MiB
// are under way for each ReadAt or WriteAt that is longer, and as many as there are
// callers otherwise: 16 random reads at a time are worth having where the network
// takes its time.
package nfs
