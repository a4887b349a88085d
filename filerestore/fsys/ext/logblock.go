package ext

// Flags of a tag.
const (
	tagEscaped  = 0x1 // the block began with the journal's magic, which was zeroed
	tagSameUUID = 0x2 // no UUID follows
	tagLast     = 0x8
)

// tag says where a block in the log belongs.
type tag struct {
	block uint64
	flags uint32
	sum   uint32
}

// tag reads one tag of a descriptor; n is its length, 0 when none is left.
func (j *journal) tag(p []byte) (t tag, n int) {
	n = 8
	switch {
	case j.has(journalCsum3):
		n = 16
	case j.has(journalCsum2) && j.has(journal64Bit):
		n = 14
	case j.has(journal64Bit):
		n = 12
	case j.has(journalCsum2):
		n = 10
	}
	tail := 0
	if j.checksums() {
		tail = 4
	}
	if len(p) < n+tail {
		return tag{}, 0
	}
	t.block = uint64(be.Uint32(p))
	if j.has(journalCsum3) {
		t.flags, t.sum = be.Uint32(p[4:]), be.Uint32(p[12:])
	} else {
		t.flags, t.sum = uint32(be.Uint16(p[6:])), uint32(be.Uint16(p[4:]))
	}
	if j.has(journal64Bit) {
		t.block |= uint64(be.Uint32(p[8:])) << 32
	}
	if t.flags&tagSameUUID == 0 {
		n = min(n+16, len(p))
	}
	return t, n
}

// dataOK verifies a block of data, as it is in the log; v2 keeps half of the sum.
func (j *journal) dataOK(t tag, sequence uint32, data []byte) bool {
	var s [4]byte
	be.PutUint32(s[:], sequence)
	sum := crc32c(j.seed, s[:], data)
	if !j.has(journalCsum3) {
		sum &= 0xFFFF
	}
	return sum == t.sum
}

// commitOK verifies a commit block, which with v1 has the checksum of the
// descriptors and data of its transaction.
func (r *replay) commitOK() bool {
	b := r.block
	switch {
	case r.j.checksums():
		return crc32c(r.j.seed, b[:0x10], []byte{0, 0, 0, 0}, b[0x14:]) == be.Uint32(b[0x10:])
	case r.j.compat&journalCompatChecksum != 0:
		kind, size, sum := b[0xC], b[0xD], be.Uint32(b[0x10:])
		return kind == 1 && size == 4 && sum == r.sum || kind == 0 && size == 0 && sum == 0
	}
	return true
}
