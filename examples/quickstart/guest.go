package main

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
)

// The guest's system disk is a real ext4 filesystem; guest/mkimage.sh made it.
var (
	//go:embed guest/disk.img.gz
	systemImage []byte
	//go:embed guest/files.json
	systemFiles []byte
)

// guestFile says where on the system disk a file of the guest lies.
type guestFile struct {
	Path    string     `json:"path"`
	Size    int64      `json:"size"`
	Extents [][2]int64 `json:"extents"` // offset and length, in bytes
}

// guest stands for the operating system in the VM: it writes to the disks while
// the pool runs.
type guest struct {
	system, data string // paths of the live disks
	dataSize     int64
	ledger       guestFile
}

// unpackSystemDisk writes the raw system disk to path, zeros as holes.
func unpackSystemDisk(path string) (err error) {
	z, err := gzip.NewReader(bytes.NewReader(systemImage))
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, 64<<10)
	zero := make([]byte, len(buf))
	var off int64
	for {
		n, err := io.ReadFull(z, buf)
		if n > 0 && !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := f.WriteAt(buf[:n], off); err != nil {
				return err
			}
		}
		off += int64(n)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return f.Truncate(off)
		case err != nil:
			return err
		}
	}
}

// newGuest returns the guest that runs on the two live disks.
func newGuest(system, data string, dataSize int64) (*guest, error) {
	var files []guestFile
	if err := json.Unmarshal(systemFiles, &files); err != nil {
		return nil, fmt.Errorf("guest/files.json: %w", err)
	}
	for _, f := range files {
		if f.Path == "/srv/ledger.txt" {
			return &guest{system: system, data: data, dataSize: dataSize, ledger: f}, nil
		}
	}
	return nil, errors.New("guest/files.json does not say where /srv/ledger.txt lies")
}

// write is what the guest does between two backups: generation n of the ledger
// replaces the one before, in the same blocks, and the data disk gets new content in
// one old place and two new ones.
func (g *guest) write(n int) error {
	if err := g.writeLedger(n); err != nil {
		return fmt.Errorf("guest writes %s: %w", g.ledger.Path, err)
	}
	if err := g.writeData(n); err != nil {
		return fmt.Errorf("guest writes its data disk: %w", err)
	}
	return nil
}

// ledgerText returns the content of the ledger in generation n: the same length
// in each.
func ledgerText(n int) []byte {
	var text bytes.Buffer
	for account := 1; account <= 40000; account++ {
		fmt.Fprintf(&text, "account %06d balance %010d generation %03d\n", account, account*n, n)
	}
	return text.Bytes()
}

func (g *guest) writeLedger(n int) error {
	text := ledgerText(n)
	if int64(len(text)) != g.ledger.Size {
		return fmt.Errorf("it has %d bytes, the new content %d", g.ledger.Size, len(text))
	}
	return inPlace(g.system, func(f *os.File) error {
		for _, e := range g.ledger.Extents {
			part := text[:min(int64(len(text)), e[1])]
			if _, err := f.WriteAt(part, e[0]); err != nil {
				return err
			}
			text = text[len(part):]
		}
		return nil
	})
}

func (g *guest) writeData(n int) error {
	random := rand.NewChaCha8([32]byte{byte(n)})
	chunk := make([]byte, 3<<20)
	return inPlace(g.data, func(f *os.File) error {
		for i := range int64(3) {
			_, _ = random.Read(chunk) // never fails
			place := (int64(n)*2 + i) * 17 << 20 % (g.dataSize - int64(len(chunk)))
			if _, err := f.WriteAt(chunk, place); err != nil {
				return err
			}
		}
		return nil
	})
}

func inPlace(path string, write func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
