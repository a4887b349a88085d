package xapi

import (
	"context"
	"fmt"
	"net/url"
	"sync"
)

// Compression is how a host compresses the archive of a VM.
type Compression string

// What hosts offer. Zstd is for XCP-ng and newer XenServers; older ones silently export uncompressed.
const (
	CompressNone Compression = ""
	CompressGzip Compression = "gzip"
	CompressZstd Compression = "zstd"
)

// ExportVMOptions of [Client.ExportVM]; nil and zero fields mean the default.
type ExportVMOptions struct {
	Compression Compression // default none
	// PreservePowerState exports the memory of a suspended VM too, and says so in the archive; else the VM is exported as halted.
	PreservePowerState bool
	Name               string // of the pool's task; by default it names the VM
}

// ExportVM opens a VM, halted or suspended, a snapshot or a template, for reading as an XVA archive with all its disks. It returns when
// the host has begun to answer. That the archive is complete is proven by Finish together with what reads it (package xva): a
// backup needs both. A compressed export may be silent for long while it passes zeros; it counts as stalled only when, besides,
// its task makes no progress. The download ends with ctx. Always Close it.
func (c *Client) ExportVM(ctx context.Context, vm Ref[VM], opts *ExportVMOptions) (*Download, error) {
	if opts == nil {
		opts = &ExportVMOptions{}
	}
	what := "export of VM " + string(vm)
	query := url.Values{"ref": {string(vm)}}
	switch opts.Compression {
	case CompressNone:
	case CompressGzip:
		query.Set("use_compression", "true") // as the oldest hosts know it
	case CompressZstd:
		query.Set("use_compression", "zstd")
	default:
		return nil, fmt.Errorf("xapi: %s: unknown compression %q", what, opts.Compression)
	}
	if opts.PreservePowerState {
		query.Set("preserve_power_state", "true")
	}
	d, err := c.download(ctx, what, opts.Name, "export", query)
	if err != nil {
		return nil, err
	}
	d.watchProgress()
	return d, nil
}

// pulse asks the pool whether a silent transfer still moves.
type pulse struct {
	mu   sync.Mutex // held while asking
	last float64
}

// watchProgress makes progress of the task count as movement while no byte comes.
func (d *Download) watchProgress() {
	p := &pulse{}
	d.pulse = p
	d.dog.also(func(anew bool) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return d.ctx.Err() == nil && p.beats(d, anew)
	})
}

// beats reports whether the task has come further since the last time. anew only notes how far it is.
func (p *pulse) beats(d *Download, anew bool) bool {
	c := d.transfer.client
	ctx, cancel := context.WithTimeoutCause(d.ctx, c.opts.CancelTimeout, ErrStalled)
	defer cancel()
	record, err := Get(ctx, once{c}, d.transfer.task)
	if err != nil || settled(record) {
		return false
	}
	before := p.last
	p.last = record.Progress
	return !anew && record.Progress > before
}

// wait returns when nobody is asking any more; the context of the download has ended before.
func (p *pulse) wait() {
	if p != nil {
		p.mu.Lock()
		p.mu.Unlock() //nolint:staticcheck // to have waited is all
	}
}
