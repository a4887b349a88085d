package remote

import (
	"context"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound what is done to a storage. 0 does not bound.
type Limits struct {
	ReadBytesPerSecond  int64
	WriteBytesPerSecond int64
	// Parallel is how many operations may be under way at once; the others wait,
	// except for what keeps a [Lock].
	// More than a few for each processor and each disk gain nothing on most NAS.
	Parallel int
}

// Limit is fsys, slowed down. Reads and writes wait before they begin, and end
// their waiting with their context, so that a limit that is low delays the end of
// a job but never its cancellation. Each Filesystem that Limit returns has limits
// of its own. Closing it closes fsys.
func Limit(fsys Filesystem, limits Limits) Filesystem {
	l := &limiter{read: newRate(limits.ReadBytesPerSecond), write: newRate(limits.WriteBytesPerSecond)}
	if limits.Parallel > 0 {
		l.slots = make(chan struct{}, limits.Parallel)
	}
	return &around{below: fsys, do: l.do}
}

type limiter struct {
	read, write *rate.Limiter // nil: no limit
	slots       chan struct{} // nil: no limit
}

// newRate allows bursts of an eighth of a second, but no less than a page.
func newRate(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	burst := min(max(bytesPerSecond/8, 4096), 1<<30)
	return rate.NewLimiter(rate.Limit(bytesPerSecond), int(burst))
}

func (l *limiter) do(ctx context.Context, o operation, run func() error) error {
	var bytes *rate.Limiter
	switch o.kind {
	case "read":
		bytes = l.read
	case "write":
		bytes = l.write
	}
	if err := waitBytes(ctx, bytes, o.size); err != nil {
		return PathError(o.kind, o.name, err)
	}
	if l.slots == nil || strings.HasSuffix(o.name, lockSuffix) { // a lock must be refreshed in time
		return run()
	}
	select {
	case <-ctx.Done():
		return PathError(o.kind, o.name, context.Cause(ctx))
	case l.slots <- struct{}{}:
	}
	defer func() { <-l.slots }()
	return run()
}

// waitBytes waits until n bytes are allowed.
func waitBytes(ctx context.Context, l *rate.Limiter, n int) error {
	if l == nil {
		return nil
	}
	for n > 0 {
		part := min(n, l.Burst())
		reserved := l.ReserveN(time.Now(), part)
		if err := sleep(ctx, reserved.Delay()); err != nil {
			reserved.Cancel()
			return err
		}
		n -= part
	}
	return nil
}
