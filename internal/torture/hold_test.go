package torture_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

const (
	holding = "holding" // what a child says when it waits in the middle of a point
	fenced  = "fenced"  // ... when it has found out that it lost the lock
)

// hold writes a point and says so in the middle of it: before the step HoldAt, which is a
// block or the commit, it waits for a line, and then goes on.
func (o *orders) hold(ctx context.Context, fsys remote.Filesystem) (err error) {
	c, err := catalog.Open(ctx, fsys, &catalog.Options{Format: o.Guest.Format, LockWait: time.Minute})
	if err != nil {
		return err
	}
	s, err := c.LockVM(ctx, guestVM)
	if err != nil {
		return err
	}
	steps := 0
	err = o.Guest.write(ctx, s, o.Generation, func() {
		if steps++; steps == o.HoldAt {
			fmt.Println(holding)
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		}
	})
	if err == nil {
		fmt.Println(committed)
	}
	err = errors.Join(err, s.Close(ctx))
	if errors.Is(err, remote.ErrLockLost) {
		fmt.Println(fenced)
		return nil
	}
	return err
}
