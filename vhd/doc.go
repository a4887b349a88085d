// Package vhd reads, writes and merges virtual hard disks (VHD).
package vhd
