package vhd_test

import (
	"context"
	"fmt"
	"log"

	"github.com/xenbackup/xenbackup/vhd"
)

// A file has lost its end. Check says what is wrong, PlanRepair what can be done
// about it, and Apply does it.
func ExampleCheck() {
	root, remove := exampleDir()
	defer remove()
	info, err := root.Stat("tuesday.vhd")
	if err != nil {
		log.Panic(err)
	}
	file, err := root.ReadFile("tuesday.vhd")
	if err != nil {
		log.Panic(err)
	}
	if err := root.WriteFile("tuesday.vhd", file[:info.Size()-512], 0o600); err != nil {
		log.Panic(err)
	}

	ctx, dir := context.Background(), vhd.OSDir(root)
	report, err := vhd.Check(ctx, dir, "tuesday.vhd", &vhd.CheckOptions{Level: vhd.CheckData})
	if err != nil {
		log.Panic(err)
	}
	for _, finding := range report.Findings {
		fmt.Println(finding.Severity, finding.Kind, finding.Repairable)
	}
	plan, err := vhd.PlanRepair(ctx, dir, "tuesday.vhd", nil)
	if err != nil {
		log.Panic(err)
	}
	for _, step := range plan.Steps {
		fmt.Printf("%s: %d bytes of %s\n", step.Text, len(step.Data), step.File)
	}
	if err := plan.Apply(ctx); err != nil {
		log.Panic(err)
	}
	report, err = vhd.Check(ctx, dir, "tuesday.vhd", nil)
	fmt.Println(len(report.Findings), err)
	// Output:
	// warning footer true
	// write the copy of the footer to the end: 512 bytes of tuesday.vhd
	// 0 <nil>
}
