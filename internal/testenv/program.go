package testenv

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// ErrMissing is returned to a program where a test would have been skipped.
var ErrMissing = errors.New("testenv: a peer is missing")

// RunGanesha is [StartGanesha] for a program that is no test: f is called while the
// server runs, whose files are below dir. The error is that of f, or of the server.
func RunGanesha(ctx context.Context, dir string, f func(g *Ganesha) error) error {
	return run(ctx, func(tb testing.TB) error {
		tb.Helper()
		return f(startGanesha(tb, dir))
	})
}

// run calls f with a tb for a program that is no test, and cleans up. The error is
// that of f, or what tb failed with.
func run(ctx context.Context, f func(tb testing.TB) error) error {
	p := &program{ctx: ctx}
	ended := make(chan struct{})
	go func() { // which Fatal ends, as that of a test
		defer close(ended)
		err := f(p)
		p.failed = errors.Join(p.failed, err)
	}()
	<-ended
	for _, cleanup := range slices.Backward(p.cleanups) {
		cleanup()
	}
	return p.failed
}

// program has those methods of a testing.TB that this package calls.
type program struct {
	testing.TB

	ctx      context.Context //nolint:containedctx // what Context returns
	cleanups []func()
	failed   error
}

// Helper has no line to blame elsewhere.
func (p *program) Helper() {}

// Context is that of the program.
func (p *program) Context() context.Context { return p.ctx }

// Cleanup calls f when what was run has ended, the last first.
func (p *program) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }

// Fatal ends what is run with an error.
func (p *program) Fatal(args ...any) { p.end(errors.New(fmt.Sprint(args...))) }

// Fatalf ends what is run with an error.
func (p *program) Fatalf(format string, args ...any) { p.end(fmt.Errorf(format, args...)) }

// Skipf ends what is run with ErrMissing.
func (p *program) Skipf(format string, args ...any) {
	p.end(fmt.Errorf("%w: %s", ErrMissing, fmt.Sprintf(format, args...)))
}

func (p *program) end(err error) {
	p.failed = errors.Join(p.failed, err)
	runtime.Goexit()
}
