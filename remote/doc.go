// Package remote is storage as backups see it: a small [Filesystem] that a disk,
// an NFS server or an SMB share can honour, and what is written once on top of it:
// files that appear atomically ([Create], [WriteFile]), durable directories
// ([MkdirAll], [SyncDir]), and the lock that keeps Xen Orchestra and this library
// off each other's work ([AcquireLock]).
//
// # Using it
//
// Open a back end, such as remote/local, or a URL with an [Opener]; remote/all
// makes one with every scheme of this module, and [ParseXO] understands the URLs
// of Xen Orchestra. Publish what others read with [Create] and [Writer.Commit], and
// nothing else: that order (temporary file in the same directory, data synced,
// renamed, directory synced) is what makes a crash at any moment harmless.
//
// Reading a file from its begin to its end is [OpenReader], or [FS] for what takes
// an fs.FS. [Sub], [ReadOnly], [Limit], [Retry] and [Logging] wrap a Filesystem.
// [Probe] tells whether a storage is fit, and how fast it is; [Identify] gives it a
// name by which it is known again after it was moved.
//
// # What each back end promises
//
//	                       local               nfs                   smb
//	Rename over a file     atomic              atomic                for users of package
//	                                                                 smb only [4]
//	  that is open         replaces it         replaces it; readers  fs.ErrPermission
//	                                           get an error          after a while
//	Commit survives a      yes: fsync of file  yes: COMMIT, its      data: FLUSH; the name
//	  power cut            and directory [1]   verifier checked [2]  seconds later [5]
//	Rename, Mkdir durable  after SyncDir       yes [2]               no [5]
//	  when they return
//	CommitNew never        yes: renameat2,     yes: a hard link      yes: the server's
//	  replaces             or a hard link                            rename
//	locks                  lock directory,     lock directory        lock directory
//	                       dead processes of
//	                       this machine known
//	free space             yes (Unix)          yes                   yes
//	cloned ranges          XFS, Btrfs          -                     no
//	encrypted transport    -                   no                    if the server or the
//	                                                                 URL demands it
//	server restarts while  -                   ErrLost: write the    ErrLost: write the
//	  a file is written                        file anew [3]         file anew [3]
//
// [1] Tried by 200 power cuts each on ext4 and XFS ("make torture"): no file that
// was committed was lost, empty or torn. Windows cannot sync a directory: see
// package local.
//
// [2] Unless the server exports with async, which promises what it does not keep.
//
// [3] Or no error, when all had been synced before. Tried by 200 accidents of a
// server (killed with its unsynced data dropped, frozen, cut off, away for longer
// than Timeout; "make torture"): nothing that was committed was wrong.
//
// [4] The old file is put aside for a moment. Who reads through package smb never
// misses the name, whenever the writer died; other programs may.
//
// [5] When the server's file system has written its journal. It keeps the order, so
// that an older state may come back, and never a mixture.
//
// Locks are advisory everywhere: they stop those who ask. Servers that speak NFSv4
// alone, Kerberos, and other protocols are not covered by a client here: mount them
// and use package local; durability is then that of the mount's options.
//
// # Errors
//
// A failure is an *[fs.PathError] or *[os.LinkError] with slash names. Tell what
// happened with errors.Is:
//
//	fs.ErrNotExist, fs.ErrExist      as in package os
//	fs.ErrPermission                 refused, also because the storage is read-only (EROFS)
//	fs.ErrInvalid                    a name that is no name, or that this storage cannot hold
//	ErrNoSpace                       disk or quota full; may first show at Sync or Close
//	ErrNotEmpty                      directory not empty; never fs.ErrExist, as the bare ENOTEMPTY would be
//	ErrUnavailable                   the storage does not answer; what it did is unknown
//	ErrLost                          unsynced data is gone: write that file anew
//	ErrLocked, ErrLockLost           see [AcquireLock]
//	ErrOtherStorage                  see [Identify]
//	ErrTooLarge                      see [ReadFile]
//
// Only fs.ErrNotExist proves that something is not there. Whatever else a read, a
// listing or a Stat returns means unknown, and nothing may be deleted because of it.
//
// # Writing a back end
//
// Implement the eight methods of [Filesystem] and the six of [File]; package
// remotetest has the suite that tells whether they do what their comments say.
// Begin every method with [CheckName]; give errors of the operating system their
// meaning with [PathError] and [LinkError], others with [MarkError]. State in
// [Properties] what callers must adapt to, and in the package's documentation what
// is durable when. examples/customremote is one in less than 100 lines.
//
// A back end on a server has an [OpenFunc]: it takes the URL apart with
// [ParseAddress], which gathers the credentials too, connects with [Options.Dial],
// and says with an [UnreachableError] whether host, login, share or folder cannot be
// reached. It asks for PipelineDepth and IOSize in its Properties, and [Writer] and
// [Reader] do the rest; where unsynced data dies with the server, it reports
// [ErrLost], and asks for SyncEvery so that not too much does.
//
// What only some storage can do is a capability: an interface of one method, found
// with [As]. A back end has it by having the method. A decorator offers what it
// implements itself, and nothing of what it wraps: a struct that embeds a
// Filesystem has just the eight methods, so a read-only decorator cannot be
// bypassed through a [TreeRemover] below it. One that lets changes through must
// forward [DirSyncer], or else it makes commits lose their durability, and
// [Toucher], without which there is no lock. One that forwards capabilities has
// their methods and is a [Decliner], for what it wraps may lack them:
//
//	func (d *decorator) SyncDir(ctx context.Context, name string) error {
//		below, _ := remote.As[remote.DirSyncer](d.Filesystem)
//		return below.SyncDir(ctx, name)
//	}
//
//	func (d *decorator) Declines(capability any) bool {
//		return !remote.Offers(d.Filesystem, capability)
//	}
package remote
