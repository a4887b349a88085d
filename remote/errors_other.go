//go:build !windows

package remote

import "syscall"

func kindOfSystem(syscall.Errno) error { return nil }
