package nfs

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// The programs spoken to, all by TCP and with their numbers and versions of RFC
// 1813 and 1833.
const (
	programPortmap, versionPortmap = 100000, 2
	programNFS, versionNFS         = 100003, 3
	programMount, versionMount     = 100005, 3
)

const (
	smallReply  = 4 << 10  // more than any answer but those of READ, READDIRPLUS and READLINK
	pooledReply = 64 << 10 // a longer buffer is left to the garbage collector
)

// call is one remote procedure call: the message to send, and where the answer
// goes. Calls are pooled, so that a block read or written costs no allocation.
type call struct {
	e    encoder // record mark, header, arguments
	data []byte  // the end of the arguments of a WRITE, sent from where it lies
	dst  []byte  // where the data of a READ goes; nil for all other calls
	max  int     // more bytes than this no answer has

	reply []byte        // the answer behind its xid, without what is in dst
	n     int           // bytes in dst
	done  chan struct{} // sent to when err and the answer are there
	err   error
	since time.Time // when it was sent

	answer decoder // of reply
	parts  [3][]byte
	vector net.Buffers
}

type callPool struct {
	pool sync.Pool
	xid  atomic.Uint32
}

func newCallPool(firstXID uint32) *callPool {
	p := &callPool{}
	p.xid.Store(firstXID)
	return p
}

// get begins a call: the caller appends the arguments.
func (p *callPool) get(credential []byte, program, version, procedure uint32) *call {
	k, _ := p.pool.Get().(*call)
	if k == nil {
		k = &call{done: make(chan struct{}, 1)}
	}
	k.max = smallReply
	k.e.b = append(k.e.b[:0], 0, 0, 0, 0) // the record mark, known when it is sent
	for _, v := range [...]uint32{p.xid.Add(1), 0, 2, program, version, procedure} {
		k.e.uint32(v)
	}
	if credential == nil {
		k.e.uint32(authNone)
		k.e.uint32(0)
	} else {
		k.e.uint32(authSys)
		k.e.opaque(credential)
	}
	k.e.uint32(authNone) // verifier
	k.e.uint32(0)
	return k
}

// put takes a call back that nobody waits for or fills any more.
func (p *callPool) put(k *call) {
	k.data, k.dst, k.n, k.err = nil, nil, 0, nil
	clear(k.parts[:])
	if cap(k.reply) > pooledReply {
		k.reply = nil
	}
	k.reply = k.reply[:0]
	p.pool.Put(k)
}

func (k *call) xid() uint32 { return binary.BigEndian.Uint32(k.e.b[4:]) }

// again makes the call ready to be sent once more, under the same xid: a server
// that remembers the answer to it can give that.
func (k *call) again() {
	k.reply, k.n = k.reply[:0], 0
	select {
	case <-k.done:
	default:
	}
}

// finish gives the call back to who waits for it.
func (k *call) finish(err error) {
	k.err = err
	k.done <- struct{}{}
}

// message is what goes over the wire, in as many parts as it lies in memory. It
// shrinks as it is written.
func (k *call) message() *net.Buffers {
	size := len(k.e.b) - 4 + len(k.data) + pad(len(k.data))
	binary.BigEndian.PutUint32(k.e.b, uint32(size)|lastFragment)
	k.parts = [3][]byte{k.e.b, k.data, padding[:pad(len(k.data))]}
	k.vector = k.parts[:1]
	switch {
	case pad(len(k.data)) > 0:
		k.vector = k.parts[:3]
	case len(k.data) > 0:
		k.vector = k.parts[:2]
	}
	return &k.vector
}

// receive takes the answer from the stream, which stands behind the xid.
func (k *call) receive(r *records) (err error) {
	k.reply = k.reply[:0]
	if k.dst != nil {
		if err := k.receiveRead(r); err != nil {
			return err
		}
		return r.skip(3) // padding of the data
	}
	k.reply, err = r.rest(k.reply, k.max)
	return err
}

// receiveRead is receive for a READ: the data goes straight to its destination,
// and everything before it to reply. An answer without data is read like any
// other.
func (k *call) receiveRead(r *records) (err error) {
	const header = 16 // message type, reply status, verifier flavor and length
	if err := k.extend(r, header); err != nil {
		return err
	}
	verifier := binary.BigEndian.Uint32(k.reply[12:])
	plain := binary.BigEndian.Uint64(k.reply) == 1<<32 && verifier <= maxAuth // an accepted REPLY
	if plain {
		if err := k.extend(r, int(verifier)+pad(int(verifier))+8); err != nil {
			return err
		}
		plain = binary.BigEndian.Uint64(k.reply[len(k.reply)-8:]) == 0 // accepted and NFS3_OK
	}
	if !plain {
		k.reply, err = r.rest(k.reply, smallReply)
		return err
	}
	if err := k.extend(r, 4); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(k.reply[len(k.reply)-4:]) != 0 {
		if err := k.extend(r, attrSize); err != nil {
			return err
		}
	}
	if err := k.extend(r, 12); err != nil { // count, end of file, length of the data
		return err
	}
	n := binary.BigEndian.Uint32(k.reply[len(k.reply)-4:])
	if int64(n) > int64(len(k.dst)) {
		return violation("more data than was asked for")
	}
	if err := r.full(k.dst[:n]); err != nil {
		return err
	}
	k.n = int(n)
	return nil
}

const attrSize = 84 // of a fattr3

// extend appends n bytes of the record to reply.
func (k *call) extend(r *records, n int) error {
	at := len(k.reply)
	k.reply = append(k.reply, make([]byte, n)...)
	return r.full(k.reply[at:])
}
