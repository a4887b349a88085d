// Package smb is storage on an SMB share, as Windows, Samba and most NAS offer
// it, without a mount and without root: a [remote.Filesystem] on SMB 2 and 3.
//
//	smb://[domain;]user@host[:port]/share/folder
//
// The folder is optional, and stands for the root. The password comes from the
// options, the URL or the environment ([remote.ParseAddress]), and appears in no
// error, log or String. What could not be reached, the host, the login, the share
// or the folder, an error says as a [remote.UnreachableError].
//
// # What it promises
//
// Replacing. Rename over a file is not atomic ([remote.Properties]: AtomicReplace
// is false), because the client library cannot replace: the old file is put aside
// as ".<name>.old-<token>", the new one takes its name, and the aside is removed.
// In between, and for ever if the machine dies there, the name is missing on the
// server. An [FS] never takes that for absence: Stat and OpenFile of a name that is
// missing look for its aside and give it its name back (or read the aside itself,
// where this user may not rename), ReadDir does so for a whole directory, lists no
// aside, and removes those that have been replaced. So every user of this package
// who asks for the name finds the old content or the new one, always; a list that
// is made meanwhile may leave it out, because servers list files one after the
// other. Other programs, Xen Orchestra
// among them, see neither for that moment: keep its clean from running meanwhile.
// A rename to a name that is not there is atomic, as is Mkdir.
//
// Open files. A file that anybody has open can neither be renamed, replaced nor
// removed; such a call waits some seconds for it to be closed, as virus scanners
// do, and then is fs.ErrPermission.
//
// Durability. File.Sync is SMB2 FLUSH, which Samba ("strict sync", the default)
// and Windows carry out as a sync of the file. Names are different: SMB cannot
// sync a directory, so what was created, renamed or removed survives a crash of
// this machine and of the server program at once, and a power cut at the server
// as soon as the server's file system has written its journal, some seconds later
// as a rule. A journaling file system keeps the order, so that an older state may
// come back but not a mixture.
//
// Locks. [remote.AcquireLock] works with the lock directories of Xen Orchestra;
// locks of the protocol are not used.
//
// # Failures
//
// One connection carries what concerns names, and a second one, made when the first
// file is opened, what concerns open files, many requests at once on both: a lock
// is refreshed in time however much data is on its way over a slow link. A server
// that takes no second connection is asked for one again after five minutes, and
// meanwhile names wait behind data. A server that owes an answer and stays silent
// for [remote.Options].Timeout, though it was asked for a sign of life in between,
// is given up; a long flush is not taken for silence.
// What is harmless to repeat is then repeated on a new connection: Stat, ReadDir,
// reads, and opening. Rename, Remove, Mkdir and creating a file are repeated after
// a look whether they have taken place; where that cannot be told apart from
// somebody else's work, Mkdir and creating are fs.ErrExist. All of it fails with
// [remote.ErrUnavailable] once it has lasted for Timeout. Writes are never
// repeated: a file with writes that were not synced when the connection was lost
// is [remote.ErrLost] from then on, for the server may have lost them. A login
// that is refused fails at once, and is not repeated for some seconds, so that no
// account is locked.
//
// Every call returns as soon as its context ends; a replacement that has begun
// goes on.
//
// # Signing and encryption
//
// Every message is signed, and answers without a valid signature end the
// connection; guests are refused. Messages are encrypted when the server or the
// share demands it ("smb encrypt = required" in Samba, Set-SmbShare -EncryptData
// in Windows), and encrypt=require in the URL refuses those that do not.
// Encryption is the faster of the two, because AES-GCM is done by the processor
// and the signature (AES-CMAC) is not. BenchmarkStream on two busy cores, with
// smbclient of Samba 4.17 in turn on the same share: 227 MB/s written and 490 read
// encrypted (smbclient 112 and 179), 83 and 146 signed (76 and 67).
//
// # Limits
//
// NTLMv2 alone: no Kerberos, no guests, no anonymous users. No DFS referrals,
// durable handles, leases, multichannel, compression, SMB 1. AES-128 only. Names
// that Windows cannot hold are fs.ErrInvalid, also where Samba could. For what is
// missing, mount the share and use package remote/local.
//
// The library counts a credit too many after every close and every error. It asks
// for 512 and this package uses 256 at a time, so that this matters only with
// servers that grant fewer than 256: they may close the connection, which is then
// made again.
//
// The library, github.com/hirochachacha/go-smb2, panics on some malformed
// answers. The package checks all that comes in the clear, and survives a panic
// in its own goroutines; a server that holds the key of the session, and encrypts
// a malformed message, can still end the process.
package smb
