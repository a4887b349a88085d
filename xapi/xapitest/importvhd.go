package xapitest

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// vhdInput is a VHD that comes as a stream: it can only be read forward.
type vhdInput struct {
	r   io.Reader
	off int64
}

// at skips to an offset, and reads what is there.
func (in *vhdInput) at(off int64, p []byte) error {
	if off < in.off {
		return fail("VDI_IO_ERROR", fmt.Sprintf("the image goes back from byte %d to %d", in.off, off))
	}
	if _, err := io.CopyN(io.Discard, in.r, off-in.off); err != nil {
		return err
	}
	n, err := io.ReadFull(in.r, p)
	in.off = off + int64(n)
	return err
}

// maxEntries bounds the memory for a BAT; the largest VHD has a quarter of it.
const maxEntries = 1 << 22

// vhdBlock is a block of the input and where it lies.
type vhdBlock struct{ index, sector uint32 }

// readVHD writes a VHD to a disk: its blocks in the order in which they lie in
// the stream, of each only the sectors that its bitmap has. The type is not
// looked at: a differencing image is applied to what the disk holds.
func (s *diskStore) readVHD(body io.Reader, w *diskWriter, length int64, progress func(done, total int)) error {
	in := &vhdInput{r: body}
	block, blocks, err := readVHDTables(in)
	if err != nil {
		return err
	}
	buf := s.buffer()
	defer s.give(buf)
	bitmap := make([]byte, ((block/sectorSize+7)/8+sectorSize-1)/sectorSize*sectorSize)
	for i, b := range blocks {
		if err := in.at(int64(b.sector)*sectorSize, bitmap); err != nil {
			return err
		}
		if err := readVHDBlock(in, w, bitmap, buf[:blockSize], int64(b.index)*block, block); err != nil {
			return err
		}
		progress(i+1, len(blocks))
	}
	last := make([]byte, footerSize)
	if err := in.at(length/sectorSize*sectorSize-footerSize, last); err != nil {
		return err
	}
	if string(last[:8]) != "conectix" {
		return fail("VDI_IO_ERROR", "no footer at the end of the image")
	}
	_, err = io.Copy(io.Discard, body)
	return err
}

// readVHDTables reads footer, header and BAT, and returns the block size and
// the blocks in the order of the stream.
func readVHDTables(in *vhdInput) (block int64, blocks []vhdBlock, err error) {
	footer, header := make([]byte, footerSize), make([]byte, headerSize)
	if err := in.at(0, footer); err != nil {
		return 0, nil, err
	}
	if string(footer[:8]) != "conectix" {
		return 0, nil, fail("VDI_IO_ERROR", "not a VHD")
	}
	be := binary.BigEndian
	if err := in.at(int64(be.Uint64(footer[16:])), header); err != nil { // a negative offset goes back and fails
		return 0, nil, err
	}
	block = int64(be.Uint32(header[32:]))
	entries := int64(be.Uint32(header[28:]))
	if string(header[:8]) != "cxsparse" || block < sectorSize || block&(block-1) != 0 || entries > maxEntries {
		return 0, nil, fail("VDI_IO_ERROR", "unusable header of a dynamic disk")
	}
	table := make([]byte, 4*entries)
	if err := in.at(int64(be.Uint64(header[16:])), table); err != nil { // a negative offset goes back and fails
		return 0, nil, err
	}
	for i := range uint32(entries) { // it came from 32 bits
		if sector := be.Uint32(table[4*i:]); sector != unused {
			blocks = append(blocks, vhdBlock{i, sector})
		}
	}
	slices.SortFunc(blocks, func(a, b vhdBlock) int { return cmp.Compare(a.sector, b.sector) })
	return block, blocks, nil
}

// readVHDBlock reads one block, of any size, and writes the runs of sectors that
// are set in the bitmap, most significant bit first.
func readVHDBlock(in *vhdInput, w *diskWriter, bitmap, buf []byte, disk, block int64) error {
	for done := int64(0); done < block; done += int64(len(buf)) {
		chunk := buf[:min(int64(len(buf)), block-done)]
		if err := in.at(in.off, chunk); err != nil {
			return err
		}
		sectors := int64(len(chunk)) / sectorSize
		for i := int64(0); i < sectors; {
			run := i
			for run < sectors && hasSector(bitmap, done/sectorSize+run) {
				run++
			}
			if run > i {
				if err := w.write(chunk[i*sectorSize:run*sectorSize], disk+done+i*sectorSize); err != nil {
					return err
				}
			}
			i = run + 1
		}
	}
	return nil
}

func hasSector(bitmap []byte, i int64) bool { return bitmap[i/8]&(0x80>>(i%8)) != 0 }
