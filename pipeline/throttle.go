package pipeline

import (
	"context"
	"io"
	"time"

	"golang.org/x/time/rate"
)

// newRate returns a limiter of so many bytes a second, of which it grants up to a
// second's worth at once.
func newRate(bytesPerSecond int) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(bytesPerSecond), bytesPerSecond)
}

// throttled reads from r no faster than the job's maxExportRate allows all its
// exports together.
func (v *vmRun) throttled(ctx context.Context, r io.Reader) io.Reader {
	if v.rate == nil {
		return r
	}
	return &throttledReader{ctx: ctx, below: r, rate: v.rate}
}

// throttledReader pays for what it has read before it returns it.
type throttledReader struct {
	ctx   context.Context //nolint:containedctx // an io.Reader has no other way
	below io.Reader
	rate  *rate.Limiter
}

func (t *throttledReader) Read(p []byte) (int, error) {
	n, err := t.below.Read(p[:min(len(p), t.rate.Burst())])
	if ended := sleep(t.ctx, t.rate.ReserveN(time.Now(), n).Delay()); ended != nil {
		return n, ended
	}
	return n, err
}
