package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/xenbackup/xenbackup/remote"
)

// sweepEvidence forgets what is no more, all over the VM.
func (s *Session) sweepEvidence(ctx context.Context) error {
	below := []string{path.Join(s.dir, vdisName)}
	for range 2 {
		var deeper []string
		for _, dir := range below {
			place := path.Dir(evidenceName(path.Join(dir, "any")))
			entries, err := s.fsys.ReadDir(ctx, place)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("catalog: list %s: %w", place, err)
			}
			for _, e := range entries {
				if e.IsDir() && isElement(e.Name()) {
					deeper = append(deeper, path.Join(dir, e.Name()))
				}
			}
		}
		below = deeper
	}
	for _, dir := range append(below, s.dir) {
		if err := sweepEvidence(ctx, s.fsys, dir); err != nil {
			return err
		}
	}
	return nil
}

// replaceMetadata replaces the JSON of a point; what it must be, if that is known,
// is right before, after, and between.
func (s *Session) replaceMetadata(ctx context.Context, name string, data []byte) error {
	_, err := readEvidence(ctx, s.fsys, name, "")
	if err != nil { // there is none, or it is of no use
		return remote.WriteFile(ctx, s.fsys, name, data)
	}
	old, err := remote.ReadFile(ctx, s.fsys, name, maxJSON)
	if err != nil {
		return err
	}
	if err := recordPoint(ctx, s.fsys, name, data, old); err != nil {
		return err
	}
	if err := remote.WriteFile(ctx, s.fsys, name, data); err != nil {
		return err
	}
	return recordPoint(ctx, s.fsys, name, data, nil)
}

// sumOfRest returns the digest of metadata without what Xen Orchestra changes when
// it has merged disks: their size, and which of them are differences.
func sumOfRest(data []byte) (digest, error) {
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return digest{}, fmt.Errorf("catalog: metadata: %w", err)
	}
	delete(fields, "size")
	delete(fields, "isVhdDifferencing")
	canonical, err := json.Marshal(fields)
	return sha256.Sum256(canonical), err
}
