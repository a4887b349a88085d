// Package disk holds the few types that disk formats, repositories and
// transports share: an [Extent] of a disk, a [Source] one can read a disk
// from, and the [Budget] that bounds the memory of all transfers of a process.
//
// It is a leaf: it imports the standard library alone, so that a format
// (package vhd), a transport (package xapi) and a repository (package catalog)
// can speak of disks without knowing each other.
//
// All offsets and lengths are in bytes.
package disk
