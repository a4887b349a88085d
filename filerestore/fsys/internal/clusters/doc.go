// Package clusters is what the readers of FAT and exFAT share: files that are
// chains of clusters, linked in a table, and directories without inodes.
//
// A [Format] says how entries look, and a [Files] makes fsys.Nodes of it. A
// node is the place of its entry in the volume, in units of 32 bytes; the root,
// which has none, is node 1. Since entries do not say which directory they are
// in, the volume remembers for each directory where it was found first. Each
// cluster of a directory belongs to that one directory: what is found twice is
// damage, so that walks end.
package clusters
