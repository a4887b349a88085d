// Package crypt encrypts a repository at rest, in Xen Orchestra's format and in
// both directions, as a decorator of a [remote.Filesystem].
//
// Names, sizes and the structure of directories stay in clear; each file is one
// message of its own:
//
//	offset  length  content
//	0       12      nonce, random for each file
//	12      n       ciphertext of the n bytes of content
//	12+n    16      authentication tag over all of it
//
// The algorithm is the one that /encryption.json names: chacha20-poly1305, which
// new repositories get, or aes-256-gcm, which old ones have. The key is 32 bytes,
// used as they are. /metadata.json is an encrypted file with known content: that it
// can be decrypted proves the key, and [Open] accepts no other, so that no file is
// ever written with a key that does not read the rest. Stored in clear are
// /encryption.json, /immutability.json, all that end in ".checksum", and the word of
// [remote.Identify].
//
// One message per file means that a file cannot be changed in place, and that it
// is written from its first byte to its last:
//
//   - A file opened for writing is new or truncated, and takes the next byte only;
//     anything else is [ErrInPlace]. Its tag is written by Sync or Close,
//     whichever comes first, and after that it takes nothing more. A file whose
//     writer died has no valid tag, and never reads as anything but [ErrTampered].
//   - A file opened for reading is decrypted as a whole, and checked before one
//     byte is given out, up to 4 MiB. A longer one may be read from its beginning
//     to its end in one pass: its last MiB is held back until the tag has proven
//     all of it, so that whoever copies it to its end has either the true content
//     or an error. Read in any other order, it is read through and checked first,
//     then a second time where it is needed.
//
// So a VHD file, in which a merge writes, cannot be kept here; Xen Orchestra keeps
// disks of encrypted repositories as directories with a file for each block, which
// package catalog reads and merges.
//
// What this does not hide or prevent: names, times, lengths, and which blocks of a
// disk have data; that whoever can write to the storage removes files, or puts an
// older version of a file back, or one encrypted file in the place of another, for
// a message is not bound to its name; nor that a long file which is not read in one
// pass changes between the check and the second reading. Above 64 GiB aes-256-gcm is not defined:
// such a file is refused. Above 256 GiB the block counter of chacha20 carries into
// the nonce, as OpenSSL does it and Xen Orchestra with it.
//
// The memory of an open file is 4 MiB.
package crypt
