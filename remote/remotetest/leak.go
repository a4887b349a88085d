package remotetest

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

// leakPatience is how long goroutines may take to end after Close.
const leakPatience = 5 * time.Second

// goroutines are the stacks of all goroutines, by their numbers.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	stacks := map[string]string{}
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if number, _, ok := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " "); ok {
			stacks[number] = stack
		}
	}
	return stacks
}

// packageOf is the import path of the implementation.
func packageOf(fsys remote.Filesystem) string {
	t := reflect.TypeOf(fsys)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return ""
	}
	return t.PkgPath()
}

// leaked reports goroutines that run code of the package, and did not run before.
// They are given some time to end.
func leaked(ctx context.Context, pkg string, before map[string]string) error {
	if pkg == "" {
		return nil
	}
	deadline := time.NewTimer(leakPatience)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		left := ""
		for number, stack := range goroutines() {
			if _, old := before[number]; !old && strings.Contains(stack, pkg+".") && !strings.Contains(stack, ".TestHarness(") {
				left = stack
			}
		}
		if left == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline.C:
			return fmt.Errorf("after Close there is left:\n%s", left)
		case <-poll.C:
		}
	}
}
