package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"time"

	"github.com/xenbackup/xenbackup/remote"
)

const (
	// memoryDir has one file per VM: what the last clean took for garbage. Xen
	// Orchestra leaves what begins with a dot at the root alone.
	memoryDir   = ".xenbackup/clean"
	memoryLimit = 64 << 20
)

// cleanMemory is what cleans have found to be garbage, by path from the root.
type cleanMemory map[string]sighting

// sighting is what a piece of garbage was like. What has changed since is
// something else.
type sighting struct {
	Kind  CleanKind `json:"kind"`
	Size  int64     `json:"size"` // of a file, in bytes
	MTime time.Time `json:"mtime"`
	First time.Time `json:"first"` // when a clean saw it first
}

func newSighting(kind CleanKind, info fs.FileInfo, now time.Time) sighting {
	s := sighting{Kind: kind, MTime: info.ModTime().UTC(), First: now}
	if !info.IsDir() {
		s.Size = info.Size()
	}
	return s
}

func (s sighting) isSame(other sighting) bool {
	return s.Kind == other.Kind && s.Size == other.Size && s.MTime.Equal(other.MTime)
}

func memoryName(vm string) string { return path.Join(memoryDir, vm+".json") }

// readMemory returns what is remembered of a VM, or of the repository by another
// name. What cannot be decoded is nothing: then all is seen for the first time.
func readMemory(ctx context.Context, fsys remote.Filesystem, vm string) (cleanMemory, error) {
	data, err := remote.ReadFile(ctx, fsys, memoryName(vm), memoryLimit)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, remote.ErrTooLarge) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("catalog: memory of cleans: %w", err)
	}
	var file struct {
		Seen cleanMemory `json:"seen"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		file.Seen = nil
	}
	return file.Seen, nil
}

// write replaces what was remembered before.
func (m cleanMemory) write(ctx context.Context, fsys remote.Filesystem, vm string, before cleanMemory) error {
	name := memoryName(vm)
	if maps.Equal(m, before) {
		return nil
	}
	if len(m) == 0 {
		if err := fsys.Remove(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("catalog: memory of cleans: %w", err)
		}
		return nil
	}
	data, err := json.Marshal(map[string]cleanMemory{"seen": m})
	if err != nil {
		return err
	}
	if err := remote.MkdirAll(ctx, fsys, memoryDir); err != nil {
		return fmt.Errorf("catalog: memory of cleans: %w", err)
	}
	return remote.WriteFile(ctx, fsys, name, data)
}
