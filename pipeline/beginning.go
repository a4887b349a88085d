package pipeline

import "io"

// beginning remembers how a stream begins.
type beginning struct {
	r    io.Reader
	head []byte
}

func (b *beginning) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if missing := len(vhdCookie) - len(b.head); missing > 0 {
		b.head = append(b.head, p[:min(n, missing)]...)
	}
	return n, err
}

// isVHD says that the pool began to send a disk: what it refuses it does not begin.
func (b *beginning) isVHD() bool { return string(b.head) == vhdCookie }

// vhdCookie is how every VHD begins.
const vhdCookie = "conectix"
