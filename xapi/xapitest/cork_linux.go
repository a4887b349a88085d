package xapitest

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// cork lets the system gather what is written to a connection into full
// segments, and uncork sends what it has gathered: a small piece before a large
// one costs no packet, and wakes nobody, on its own.
func cork(conn net.Conn)   { setCork(conn, 1) }
func uncork(conn net.Conn) { setCork(conn, 0) }

func setCork(conn net.Conn, on int) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := socket.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_CORK, on) }) // slower without
	}
}
