// Package nbd speaks the Network Block Device protocol, both halves of it, over
// any net.Conn: [NewClient] reads a disk from a server, [Server] serves disks.
// Both are read-only, as backups are, and know nothing of the XenAPI.
//
//	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(info.Address, "10809"))
//	client, err := nbd.NewClient(ctx, conn, info.ExportName, &nbd.ClientOptions{TLS: config})
//	defer client.Close()
//	n, err := client.ReadAt(p, off)
//
// A [Client] is a [disk.Source]. Its methods may be called concurrently: requests
// are pipelined on the one connection, [ClientOptions].MaxInFlight of them at a
// time, and answers are taken in whatever order they come. A context ends a read
// without harm to the others.
//
// # What is spoken
//
//	handshake     fixed newstyle, with and without NO_ZEROES; newstyle without options; no oldstyle
//	TLS           STARTTLS: with ClientOptions.TLS it is required, never tried and given up
//	options       GO, and EXPORT_NAME where a server does not know GO; INFO and LIST are served
//	replies       structured where both sides can, else simple
//	block status  base:allocation, which tells zeros without reading them
//	block sizes   honoured when announced, else reads are whole sectors of 512 bytes
//
// The NBD server of an XCP-ng host knows the oldest part of this alone: STARTTLS,
// EXPORT_NAME and simple replies, reads in whole sectors. [Server].Legacy makes
// a server like that.
//
// # Trust
//
// Lengths that a peer announces are checked before anything is allocated or
// read for them. What does not fit ends the connection with [ErrProtocol]: after
// that the position in the stream is unknown. A byte is never reported as read
// that the server did not send: an answer that leaves a gap is an error.
//
// Nothing a peer sends before TLS is trusted after it: no byte is read ahead.
//
// Export names can hold secrets (a host's has a session), so no error shows one.
//
// Everything follows the specification at
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
package nbd
