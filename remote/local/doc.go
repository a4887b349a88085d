// Package local is a [remote.Filesystem] in a directory of this machine: a disk,
// or a share that the operating system has mounted.
//
// All access is confined to the directory: neither a name nor a symbolic link
// that leads out of it is followed (see [os.Root]).
//
// What it promises depends on the file system below, as for every program:
//
//   - Sync and SyncDir are fsync of the file and of the directory, and report its
//     errors. On macOS they flush the disk's cache too. Windows cannot sync a
//     directory: there SyncDir does nothing, NTFS journals the names, and a power
//     cut may undo the last renames but not tear them.
//   - Rename replaces atomically, also a file that somebody holds open; on Windows
//     not one that is open without delete sharing.
//   - RenameNoReplace is renameat2 on Linux, and a hard link plus a removal where
//     the file system does not know it: a crash between the two leaves both names.
//   - Files and directories are made with the process's umask, as Xen Orchestra
//     makes them.
package local
