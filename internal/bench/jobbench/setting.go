package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strings"

	"github.com/xenbackup/xenbackup/internal/bench"
	"github.com/xenbackup/xenbackup/internal/bench/benchpool"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/all"
	"github.com/xenbackup/xenbackup/xapi"
)

// setting is a pool, and a place to back it up to.
type setting struct {
	*jobBench

	pool   *benchpool.Process
	client *xapi.Client
	to     string // URL
	seen   map[xapi.Ref[xapi.VDI]]bool
}

// setUp starts a pool of VMs with one disk each, of which so much is data.
func (b *jobBench) setUp(ctx context.Context, to string, vms int, size, data int64) (*setting, error) {
	if folder, ok := strings.CutPrefix(to, "file://"); ok {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	pool, err := benchpool.Start(ctx, "pool", b.Path("pool"), fmt.Sprint(vms), fmt.Sprint(size), fmt.Sprint(data))
	if err != nil {
		return nil, err
	}
	at, err := benchpool.ParseAddress(pool.Address())
	if err != nil {
		return nil, errors.Join(err, pool.Stop())
	}
	client, err := at.Dial(ctx)
	if err != nil {
		return nil, errors.Join(err, pool.Stop())
	}
	return &setting{jobBench: b, pool: pool, client: client, to: to, seen: map[xapi.Ref[xapi.VDI]]bool{}}, nil
}

func (s *setting) tearDown(ctx context.Context) error {
	return errors.Join(s.empty(ctx), s.client.Close(), s.pool.Stop())
}

// compare compares a first backup, and one of what has changed since, with copies of
// exports of the same size.
func (s *setting) compare(ctx context.Context, name string) error {
	older, err := s.snapshot(ctx)
	if err == nil {
		err = s.pool.Ask(askChange)
	}
	if err != nil {
		return err
	}
	newer, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	s.Bytes = s.Size
	if err := s.Compare(ctx, fullTitle(name), s.job(ctx, nil), s.copyOf(ctx, older, "", "aside"), s.copyOf(ctx, older, "", "inline")); err != nil {
		return err
	}
	s.Bytes = s.Size / changedPart
	return s.Compare(ctx, deltaTitle(name), s.job(ctx, func() error {
		return errors.Join(s.Run(ctx, s.job(ctx, nil)), s.pool.Ask(askChange))
	}), s.copyOf(ctx, newer, older, "aside"), s.copyOf(ctx, newer, older, "inline"))
}

// job backs up to the empty place, or after what before did there.
func (s *setting) job(ctx context.Context, before func() error) bench.Contestant {
	c := bench.Ours("", "backup", s.to, s.pool.Address())
	c.Before = func() error {
		err := s.empty(ctx)
		if err == nil && before != nil {
			err = before()
		}
		return err
	}
	return c
}

// copyOf copies the stream of a disk, or of what it differs in from base. how is
// whether the digests are taken while reading and writing go on.
func (s *setting) copyOf(ctx context.Context, vdi, base xapi.Ref[xapi.VDI], how string) bench.Contestant {
	return bench.Contestant{
		Name:    "copy, digest and sync, " + how,
		Command: []string{bench.ChildArg, "copy", s.to, s.pool.Address(), string(vdi), string(base), how},
		Before:  func() error { return s.empty(ctx) },
	}
}

// snapshot takes one of the VM, and returns its disk.
func (s *setting) snapshot(ctx context.Context) (xapi.Ref[xapi.VDI], error) {
	at, err := benchpool.ParseAddress(s.pool.Address())
	if err != nil {
		return "", err
	}
	var vm, made xapi.Ref[xapi.VM]
	if err := s.client.Call(ctx, "VM.get_by_uuid", &vm, at.VMs[0]); err != nil {
		return "", err
	}
	if err := s.client.CallAsync(ctx, "VM.snapshot", &made, vm, "to be copied"); err != nil {
		return "", err
	}
	vdis, err := xapi.All[xapi.VDI](ctx, s.client)
	if err != nil {
		return "", err
	}
	for ref, vdi := range maps.All(vdis) {
		if vdi.IsASnapshot && !s.seen[ref] {
			s.seen[ref] = true
			return ref, nil
		}
	}
	return "", errors.New("jobbench: the snapshot has no disk")
}

// empty removes all that is in the place.
func (s *setting) empty(ctx context.Context) (err error) {
	fsys, err := all.Opener().Open(ctx, s.to, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fsys.Close()) }()
	entries, err := fsys.ReadDir(ctx, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := remote.RemoveAll(ctx, fsys, e.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
