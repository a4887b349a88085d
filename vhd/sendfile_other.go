//go:build !linux

package vhd

import "io"

// fileSender sends parts of a file to a socket inside the kernel; on this system it cannot.
type fileSender struct{}

func newFileSender(io.Writer, io.ReaderAt) *fileSender { return nil }

func (*fileSender) send(_, _ int64) (sent int64, err error) { return 0, nil }
