package smb

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/remote"
)

// frame is a message with its length in front.
func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)
}

// header is that of an answer without an error.
func header(command uint16) []byte {
	h := make([]byte, headerSize)
	copy(h, "\xfeSMB")
	h[4] = headerSize
	binary.LittleEndian.PutUint16(h[12:], command)
	return h
}

func with(message []byte, at int, values ...byte) []byte {
	message = append([]byte(nil), message...)
	copy(message[at:], values)
	return message
}

func TestWhatWouldPanicInTheLibraryDoesNotReachIt(t *testing.T) {
	negotiated := append(header(cmdNegotiate), make([]byte, 64)...)
	dialect := func(d uint16) []byte { return with(negotiated, headerSize+4, byte(d), byte(d>>8)) }
	setup := append(header(cmdSessionSetup), make([]byte, 8)...)
	encrypted := append([]byte("\xfdSMB"), make([]byte, transformSize+headerSize)...)
	stat := append(header(5), make([]byte, 8)...)
	for name, c := range map[string]struct {
		answers [][]byte // the client has written before each
		ok      bool     // of the last
	}{
		"a fragment":                      {[][]byte{header(0)[:63]}, false},
		"nothing":                         {[][]byte{{}}, false},
		"SMB 1":                           {[][]byte{with(header(0), 0, 0xff)}, false},
		"too much":                        {[][]byte{make([]byte, maxMessage+1)}, false},
		"a compound":                      {[][]byte{with(header(0), 20, 64)}, false},
		"a dialect of its own":            {[][]byte{dialect(0x999)}, false},
		"a dialect":                       {[][]byte{dialect(0x302)}, true},
		"a short negotiation":             {[][]byte{dialect(0x302)[:headerSize+63]}, false},
		"a guest":                         {[][]byte{dialect(0x302), with(setup, headerSize+2, 1)}, false},
		"nobody":                          {[][]byte{dialect(0x302), with(setup, headerSize+2, 2)}, false},
		"a login":                         {[][]byte{dialect(0x302), setup}, true},
		"encrypted":                       {[][]byte{dialect(0x302), setup, encrypted}, true},
		"encrypted too early":             {[][]byte{dialect(0x302), encrypted}, false},
		"encrypted without a cipher":      {[][]byte{dialect(0x210), setup, encrypted}, false},
		"3.1.1 without a cipher":          {[][]byte{dialect(0x311), setup, encrypted}, false},
		"encrypted, with no room":         {[][]byte{dialect(0x302), setup, encrypted[:transformSize+headerSize-1]}, false},
		"unsigned":                        {[][]byte{dialect(0x302), setup, stat}, false},
		"signed":                          {[][]byte{dialect(0x302), setup, with(stat, 16, flagSigned)}, true},
		"pending":                         {[][]byte{dialect(0x302), setup, with(stat, 8, 3, 1)}, true},
		"an error without a signature":    {[][]byte{dialect(0x302), setup, with(stat, 8, 0x22, 0, 0, 0xc0)}, false},
		"a login refused":                 {[][]byte{dialect(0x302), with(setup, 8, 0x6d, 0, 0, 0xc0)}, true},
		"what nobody is said to ask for":  {[][]byte{dialect(0x302), setup, with(header(18), 24, 255, 255, 255, 255, 255, 255, 255, 255)}, true},
		"contexts beyond the negotiation": {[][]byte{with(with(dialect(0x311), headerSize+6, 255, 255), headerSize+60, 120)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := net.Pipe()
			defer server.Close()
			w := newWire(client, false, func(error) {})
			defer w.Close()
			var err error
			for _, answer := range c.answers {
				require.NoError(t, err, "it has stopped too early")
				go func() { _, _ = io.Copy(io.Discard, io.LimitReader(server, prefixSize+headerSize)) }()
				_, err = w.Write(make([]byte, prefixSize))
				require.NoError(t, err)
				_, err = w.Write(header(0))
				require.NoError(t, err)
				go func() { _, _ = server.Write(frame(answer)) }()
				_, err = io.ReadFull(w, make([]byte, prefixSize+len(answer)))
			}
			require.Equal(t, c.ok, err == nil, "%v", err)
		})
	}
}

// script is a server that answers each message with the next one of a recording.
func script(conn net.Conn, recording []byte) {
	defer conn.Close()
	for len(recording) > prefixSize {
		prefix := make([]byte, prefixSize)
		if _, err := io.ReadFull(conn, prefix); err != nil {
			return
		}
		request := make([]byte, binary.BigEndian.Uint32(prefix))
		if _, err := io.ReadFull(conn, request); err != nil || len(request) < headerSize {
			return
		}
		size := min(int(binary.BigEndian.Uint32(recording)), len(recording)-prefixSize)
		answer := append([]byte(nil), recording[:prefixSize+size]...)
		recording = recording[prefixSize+size:]
		if size >= headerSize {
			copy(answer[prefixSize+24:], request[24:32]) // the answer to this request
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// FuzzLogin plays what is meant to be a login: it fails, or succeeds, and ends
// nothing but the connection. The corpus has one recorded from smbd.
func FuzzLogin(f *testing.F) {
	f.Add([]byte{})
	f.Add(frame(header(cmdNegotiate)))
	f.Fuzz(func(t *testing.T, recording []byte) {
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); script(server, recording) }()
		a := &remote.Address{Scheme: "smb", Host: "nas", Username: "u", Password: "p", Path: "share/folder"}
		dialed := false
		fsys, err := Open(t.Context(), a, &remote.Options{
			Timeout: 2 * time.Second,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				if dialed {
					return nil, errors.New("once is enough")
				}
				dialed = true
				return client, nil
			},
		})
		if err == nil {
			_ = fsys.Close()
		}
		_ = client.Close()
		<-done
	})
}
