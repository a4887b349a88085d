package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/crypt"
)

// distrustName is, beside the evidence of the disks of a directory, the file that says
// up to which of them nothing more is to be appended.
const distrustName = "distrusted.json"

type distrust struct {
	Until string `json:"until"` // date of a file name, itself included
}

// Distrust makes sure that no backup is a difference to what a verification found
// corrupt: of each disk with such a finding all that is there now is no base any more
// ([Session.FindBase]), so that the next backup of it is complete. Points are not
// changed, and can be restored as far as they can be read. Xen Orchestra does not know
// of it.
func (s *Session) Distrust(ctx context.Context, v *PointVerdict) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	done := map[string]bool{}
	for _, f := range v.Findings {
		rel, ok := strings.CutPrefix(f.File, path.Join(s.dir, vdisName)+"/")
		parts := strings.SplitN(rel, "/", 3)
		if f.Verdict != Corrupt || !ok || len(parts) < 3 {
			continue
		}
		dir := path.Join(s.dir, vdisName, parts[0], parts[1])
		if done[dir] {
			continue
		}
		done[dir] = true
		if err := s.distrustDir(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) distrustDir(ctx context.Context, dir string) error {
	newest, err := s.latestIn(ctx, dir)
	if err != nil {
		return err
	}
	data, err := json.Marshal(distrust{Until: FormatDate(newest)})
	if err != nil {
		return err
	}
	name := path.Join(path.Dir(evidenceName(path.Join(dir, "any"))), distrustName)
	if err := remote.MkdirAll(ctx, s.fsys, path.Dir(name)); err != nil {
		return fmt.Errorf("catalog: distrust %s: %w", dir, err)
	}
	if err := remote.WriteFile(ctx, s.fsys, name, data); err != nil {
		return fmt.Errorf("catalog: distrust %s: %w", dir, err)
	}
	return nil
}

// trusts returns a function that tells whether a disk in dir may be a base.
func (s *Session) trusts(ctx context.Context, dir string) (func(name string) bool, error) {
	name := path.Join(path.Dir(evidenceName(path.Join(dir, "any"))), distrustName)
	data, err := remote.ReadFile(ctx, s.fsys, name, 1<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return func(string) bool { return true }, nil
	}
	if err != nil && !errors.Is(err, crypt.ErrTampered) {
		return nil, fmt.Errorf("catalog: distrust %s: %w", dir, err)
	}
	var d distrust
	until, ok := "", false
	if json.Unmarshal(data, &d) == nil {
		_, err := ParseDate(d.Until)
		until, ok = d.Until, err == nil
	}
	return func(name string) bool { return ok && name[:min(len(name), len(until))] > until }, nil
}
