package filerestore_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"

	"github.com/xenbackup/xenbackup/filerestore"
)

// exampleDisks stand for those of a backup: see OpenBackup.
func exampleDisks() []filerestore.Disk {
	var disks []filerestore.Disk
	for _, name := range []string{"a", "b"} {
		raw, err := unpacked(name)
		if err != nil {
			log.Fatal(err)
		}
		disks = append(disks, filerestore.Disk{ID: "xvd" + name, R: bytes.NewReader(raw), Size: int64(len(raw))})
	}
	return disks
}

// A session finds the volumes on disks, whatever they are made of.
func ExampleOpen() {
	ctx := context.Background()
	s, err := filerestore.Open(ctx, exampleDisks(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	for v := range s.All() {
		fmt.Println(v.ID, v.Kind, v.Type, v.HasFiles())
	}
	files, err := s.OpenVolume(ctx, "lvm:vg0/root")
	if err != nil {
		fmt.Println(err)
		return
	}
	name, err := fs.ReadFile(files, "etc/hostname")
	fmt.Printf("%s%v\n", name, err)
	// Output:
	// xvda disk gpt false
	// xvda/p1 partition ext4 true
	// xvda/p2 partition LVM2_member false
	// xvdb disk LVM2_member false
	// lvm:vg0 group lvm false
	// lvm:vg0/data logical volume ext4 true
	// lvm:vg0/home logical volume ext4 true
	// lvm:vg0/root logical volume ext4 true
	// root host
	// <nil>
}

// An archive keeps what a file has, and tells what it lacks.
func ExampleSession_Archive() {
	ctx := context.Background()
	s, err := filerestore.Open(ctx, exampleDisks(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	what := []filerestore.Selection{{Volume: "boot", Path: "etc"}, {Volume: "root", Path: "etc/hostname"}}
	report, err := s.Archive(ctx, io.Discard, filerestore.TarZstd, what, &filerestore.ArchiveOptions{
		Limits: filerestore.Limits{Bytes: 1 << 30},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(report)
	// Output:
	// Restored: 4 files, 3 directories, 4 others, 8913 bytes.
	// Nothing is missing.
}

// Files are restored into a directory, and never beside it.
func ExampleSession_Extract() {
	ctx := context.Background()
	s, err := filerestore.Open(ctx, exampleDisks(), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	dir, err := os.MkdirTemp("", "restored-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	into, err := os.OpenRoot(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer into.Close()
	report, err := s.Extract(ctx, into, []filerestore.Selection{{Volume: "home", Path: "etc/deep/er"}}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	info, err := into.Stat("etc/deep/er/numbers")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Files, info.Size())
	// Output: 1 8893
}
