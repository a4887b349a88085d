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
//   - CloneRange of its files (see [remote.CloneRange]) shares blocks on XFS and
//     Btrfs; elsewhere callers copy.
//   - Space is what statfs tells (Linux, macOS).
//   - Files and directories are made with the process's umask, as Xen Orchestra
//     makes them.
//
// # A disk that is not there
//
// Backups must not fill the system's disk because the one they belong on is not
// mounted. Two checks help, alone or together: Options.Mounted, "?mounted=true" in a
// URL, refuses a directory on the system's own file system; and a repository that was
// given an identity ([remote.Identify]) is known by it, with Options.ID of package
// remote, whatever it is mounted on.
//
// # Moving a repository to another disk
//
// Stop the jobs, copy everything, dot files too, compare, and open the new place as
// the old one:
//
//	cp -a /mnt/old/. /mnt/new/
//	diff -r /mnt/old /mnt/new
//
// All paths in a repository are relative, and its identity moves with it, so that
// nothing but the URL changes. What else is on NFS or SMB now can be moved the same
// way, by mounting it.
package local
