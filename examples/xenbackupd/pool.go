package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/xenbackup/xenbackup/examples/internal/config"
	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/xapi"
)

// pool is a pool that is logged in to when it is needed: one that does not answer
// while the program starts is tried again with the next job.
type pool struct {
	address string
	opts    *xapi.Options
	turn    chan struct{} // holds one token: whoever has it may change the rest

	client *xapi.Client
	err    error // of the last login
	closed bool
}

var (
	_ pipeline.Pool = (*pool)(nil)

	errClosed = errors.New("the program ends")
)

func newPool(conf *config.Pool, metrics *xapi.Metrics, log *slog.Logger) *pool {
	p := &pool{address: conf.URL, opts: conf.Options(metrics, log), turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p
}

// login returns the client, and logs in unless that was done before.
func (p *pool) login(ctx context.Context) (*xapi.Client, error) {
	select {
	case <-p.turn:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { p.turn <- struct{}{} }()
	if p.closed {
		return nil, errClosed
	}
	if p.client != nil {
		return p.client, nil
	}
	client, err := xapi.Dial(ctx, p.address, p.opts)
	if p.err = err; err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	p.client = client
	return client, nil
}

// state says whether it is logged in to, and why the last login failed. A login that
// is under way is not waited for.
func (p *pool) state() (connected bool, err error) {
	select {
	case <-p.turn:
		defer func() { p.turn <- struct{}{} }()
		return p.client != nil, p.err
	default:
		return false, nil
	}
}

// close logs out, and makes the pool unusable.
func (p *pool) close() error {
	<-p.turn
	defer func() { p.turn <- struct{}{} }()
	p.closed = true
	if p.client == nil {
		return nil
	}
	err := p.client.Close()
	p.client = nil
	return err
}

// Call is that of [xapi.Client], after a login if there was none.
func (p *pool) Call(ctx context.Context, method string, result any, args ...any) error {
	c, err := p.login(ctx)
	if err != nil {
		return err
	}
	return c.Call(ctx, method, result, args...)
}

// CallAsync is that of [xapi.Client], after a login if there was none.
func (p *pool) CallAsync(ctx context.Context, method string, result any, args ...any) error {
	c, err := p.login(ctx)
	if err != nil {
		return err
	}
	return c.CallAsync(ctx, method, result, args...)
}

// ExportVDI is that of [xapi.Client], after a login if there was none.
func (p *pool) ExportVDI(ctx context.Context, vdi xapi.Ref[xapi.VDI], opts *xapi.ExportVDIOptions) (*xapi.Download, error) {
	c, err := p.login(ctx)
	if err != nil {
		return nil, err
	}
	return c.ExportVDI(ctx, vdi, opts)
}

// ExportVM is that of [xapi.Client], after a login if there was none.
func (p *pool) ExportVM(ctx context.Context, vm xapi.Ref[xapi.VM], opts *xapi.ExportVMOptions) (*xapi.Download, error) {
	c, err := p.login(ctx)
	if err != nil {
		return nil, err
	}
	return c.ExportVM(ctx, vm, opts)
}

// Features is that of [xapi.Client], after a login if there was none.
func (p *pool) Features(ctx context.Context) (*xapi.Features, error) {
	c, err := p.login(ctx)
	if err != nil {
		return nil, err
	}
	return c.Features(ctx)
}

// ImportVDI is that of [xapi.Client], after a login if there was none.
func (p *pool) ImportVDI(ctx context.Context, vdi xapi.Ref[xapi.VDI], length int64, body io.Reader, opts *xapi.ImportVDIOptions) error {
	c, err := p.login(ctx)
	if err != nil {
		return err
	}
	return c.ImportVDI(ctx, vdi, length, body, opts)
}
