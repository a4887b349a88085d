package ext

// Tags of fast commits, in little-endian: 16 bits of tag, 16 of length.
const fastHead = 9

// pendingFastCommits tells that there are fast commits on top of the last
// transaction: the area for them begins with a head that has the number of the
// transaction in which they would have been.
func (j *journal) pendingFastCommits(transaction uint32) (bool, error) {
	if j.fastCommits == 0 || j.fastCommits >= j.runs[len(j.runs)-1].end() {
		return false, nil
	}
	b := make([]byte, j.f.sb.blockSize)
	if err := j.read(b, j.fastCommits); err != nil {
		return false, err
	}
	return le.Uint16(b) == fastHead && le.Uint16(b[2:]) >= 8 && le.Uint32(b[8:]) == transaction, nil
}
