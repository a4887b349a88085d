package remotetest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"syscall"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/remotetest"
)

// The suite on a Filesystem of one's own. In a test it is three lines.
func ExampleTest() {
	fmt.Println(remotetest.Test(context.Background(), remotetest.NewCrash()))
	// Output: <nil>
}

func ExampleTrace() {
	ctx := context.Background()
	trace := remotetest.NewTrace(remotetest.NewCrash())
	_ = remote.WriteFile(ctx, trace, "point.json", []byte("{}"))
	fmt.Print(trace)
	// Output:
	// create .point.json.<token>.tmp
	// write .point.json.<token>.tmp 0+2
	// sync .point.json.<token>.tmp
	// rename .point.json.<token>.tmp point.json
	// syncdir .
}

func ExampleFaulty() {
	ctx := context.Background()
	faulty := remotetest.NewFaulty(remotetest.NewCrash())
	faulty.FailAt(1, syscall.ENOSPC, remotetest.Sync)
	err := remote.WriteFile(ctx, faulty, "f", []byte("x"))
	fmt.Println(errors.Is(err, remote.ErrNoSpace), faulty.Fired())
	fmt.Println(remote.WriteFile(ctx, faulty, "f", []byte("x")))
	// Output:
	// true 1
	// <nil>
}

// Without a sync, the name may survive a power cut that the content did not.
func ExampleCrash_PowerCut() {
	ctx := context.Background()
	crash := remotetest.NewCrash()
	w, _ := remote.Create(ctx, crash, "careful")
	_, _ = w.Write([]byte("content"))
	_ = w.Commit()

	f, _ := crash.OpenFile(ctx, "careless.tmp", remotetest.CreateNew)
	_, _ = f.WriteAt([]byte("content"), 0)
	_ = f.Close()
	_ = crash.Rename(ctx, "careless.tmp", "careless")

	rng := rand.New(rand.NewPCG(1, 2))
	results := map[string]bool{}
	for range 1000 {
		after := crash.PowerCut(rng)
		for _, name := range []string{"careful", "careless"} {
			data, err := remote.ReadFile(ctx, after, name, 100)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				results[name+": absent"] = true
			default:
				results[fmt.Sprintf("%s: %q", name, data)] = true
			}
		}
	}
	fmt.Println(results[`careful: "content"`], results[`careful: ""`], results["careful: absent"])
	fmt.Println(results[`careless: "content"`], results[`careless: ""`], results["careless: absent"])
	// Output:
	// true false false
	// true true true
}
