package task_test

import (
	"errors"
	"fmt"

	"github.com/xenbackup/xenbackup/pipeline/task"
)

func ExampleRun() {
	watch := task.ObserverFunc(func(e task.Event) {
		switch e.Kind {
		case task.EventProgress:
			fmt.Printf("%s: %d of %d bytes\n", e.Name, e.Done, e.Total)
		case task.EventEnd:
			fmt.Printf("%s: %s\n", e.Name, e.Status)
		}
	})
	run := task.NewRun(task.Job{ID: "job", Name: "nightly"}, nil, watch)
	vm := run.Start("backup VM", map[string]any{"type": "VM", "id": "web"})
	transfer := vm.Start("transfer", nil)
	transfer.Progress(512, 1024)
	transfer.Fail(errors.New("the pool went away"))
	vm.Succeed(nil)
	run.Succeed(nil)
	fmt.Println(run.Err())
	// Output:
	// transfer: 512 of 1024 bytes
	// transfer: failure
	// backup VM: failure
	// backup run: failure
	// the pool went away
}
