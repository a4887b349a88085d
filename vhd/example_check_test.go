package vhd_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/xenbackup/xenbackup/vhd"
)

// A file lost its end. Check says what is wrong, PlanRepair what can be done
// about it, and Apply does it.
func ExampleCheck() {
	folder, err := os.MkdirTemp("", "vhd-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	layout := vhd.Layout{Type: vhd.Dynamic, Size: 8 << 20, Blocks: []uint32{1}}
	f, err := os.Create(filepath.Join(folder, "disk.vhd"))
	if err != nil {
		log.Fatal(err)
	}
	w, err := vhd.NewStreamWriter(f, layout)
	if err == nil {
		err = w.WriteBlock(1, []byte("data"))
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = f.Truncate(layout.StreamSize() - 512)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		log.Fatal(err)
	}

	root, err := os.OpenRoot(folder)
	if err != nil {
		log.Fatal(err)
	}
	defer root.Close()
	ctx, dir := context.Background(), vhd.OSDir(root)
	report, err := vhd.Check(ctx, dir, "disk.vhd", &vhd.CheckOptions{Level: vhd.CheckData})
	if err != nil {
		log.Fatal(err)
	}
	for _, finding := range report.Findings {
		fmt.Println(finding.Severity, finding.Kind, finding.Repairable)
	}

	plan, err := vhd.PlanRepair(ctx, dir, "disk.vhd", nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, step := range plan.Steps {
		fmt.Printf("%s: %d bytes at %d of %s\n", step.Text, len(step.Data), step.Offset, step.File)
	}
	if err := plan.Apply(ctx); err != nil {
		log.Fatal(err)
	}
	report, err = vhd.Check(ctx, dir, "disk.vhd", nil)
	fmt.Println(len(report.Findings), err)
	// Output:
	// warning footer true
	// write the copy of the footer to the end: 512 bytes at 2101248 of disk.vhd
	// 0 <nil>
}
