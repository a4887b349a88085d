//go:build !linux

package xapitest

import "net"

func cork(net.Conn)   {}
func uncork(net.Conn) {}
