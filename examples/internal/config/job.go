package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/selector"
)

// Job is a backup job: one written here, or one of Xen Orchestra's.
type Job struct {
	// XO is a file with the job as Xen Orchestra's JSON; then nothing else is set.
	XO string `yaml:"xo"`

	ID          string   `yaml:"id"`   // when it is to go on with the backups of another one
	Name        string   `yaml:"name"` // for people
	Mode        string   `yaml:"mode"`
	VMs         *VMs     `yaml:"vms"`
	Remotes     []string `yaml:"remotes"`
	Compression *string  `yaml:"compression"`

	// Settings are Xen Orchestra's, by their names there; Overrides those of a VM, by its
	// UUID, or of a remote.
	Settings  map[string]any            `yaml:"settings"`
	Overrides map[string]map[string]any `yaml:"overrides"`
}

// VMs say which: a list of UUIDs; the conditions of smart mode; or a pattern of Xen
// Orchestra's.
type VMs struct {
	pattern json.RawMessage
}

// smart are the conditions of selector.Smart.
type smart struct {
	PowerState string   `yaml:"power_state"`
	Pools      []string `yaml:"pools"`
	NotPools   []string `yaml:"not_pools"`
	Hosts      []string `yaml:"hosts"`
	AnyTags    []string `yaml:"any_tags"`
	AllTags    []string `yaml:"all_tags"`
	NoTags     []string `yaml:"no_tags"`
}

// UnmarshalYAML reads a list of UUIDs, {smart: ...} or {pattern: ...}.
func (v *VMs) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.SequenceNode {
		var ids []string
		if err := node.Load(&ids); err != nil {
			return err
		}
		if len(ids) == 0 {
			return errors.New("an empty list")
		}
		v.pattern = pipeline.IDs(ids...)
		return nil
	}
	var choice struct {
		Smart   *smart         `yaml:"smart"`
		Pattern map[string]any `yaml:"pattern"`
	}
	if err := node.Load(&choice, yaml.WithKnownFields()); err != nil {
		return err
	}
	switch {
	case (choice.Smart == nil) == (choice.Pattern == nil):
		return errors.New("either a list of UUIDs, or {smart: ...}, or {pattern: ...}")
	case choice.Pattern != nil:
		var err error
		v.pattern, err = json.Marshal(choice.Pattern)
		return err
	}
	p, err := selector.Smart(*choice.Smart).Pattern()
	if err != nil {
		return err
	}
	v.pattern, err = json.Marshal(p)
	return err
}

func (j *judge) jobs(c *Config, folder string) {
	c.built = map[string]*pipeline.Job{}
	if len(c.Jobs) == 0 {
		j.wrong("needed: at least one job", "jobs")
	}
	ids := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Jobs)) {
		own := c.Jobs[name]
		where := []string{"jobs", name}
		if !j.named(name, own == nil, "jobs") {
			continue
		}
		var job *pipeline.Job
		if own.XO != "" {
			job = j.imported(own, folder, where)
		} else {
			job = j.native(name, own, where)
		}
		if job == nil {
			continue
		}
		if other, taken := ids[job.ID]; taken {
			j.wrong(fmt.Sprintf("has the id of %s: they would take each other's backups for their own", other), where...)
		}
		ids[job.ID] = name
		c.built[name] = job
		j.job(c, job, where)
	}
}

// native makes a job of what is written here.
func (j *judge) native(name string, own *Job, where []string) *pipeline.Job {
	job := &pipeline.Job{
		ID: cmp.Or(own.ID, name), Name: cmp.Or(own.Name, name), Type: pipeline.TypeBackup, Mode: cmp.Or(own.Mode, pipeline.ModeDelta),
		Compression: own.Compression, Settings: map[string]json.RawMessage{},
	}
	if own.VMs == nil {
		j.wrong("needed: a list of UUIDs, or {smart: {any_tags: [TAG]}}", append(where, "vms")...)
		return nil
	}
	job.VMs = own.VMs.pattern
	if len(own.Remotes) > 0 {
		job.Remotes = pipeline.IDs(own.Remotes...)
	}
	j.scope(job, "", own.Settings, append(where, "settings")...)
	for id, settings := range own.Overrides {
		if id == "" {
			j.wrong("whose? A VM's UUID, or the name of a remote", append(where, "overrides")...)
			continue
		}
		j.scope(job, id, settings, append(where, "overrides", id)...)
	}
	return job
}

// scope adds settings to those that the scope has.
func (j *judge) scope(job *pipeline.Job, scope string, settings map[string]any, where ...string) {
	if len(settings) == 0 {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		if !pipeline.IsSetting(key) {
			j.warn(fmt.Sprintf("the library knows no setting %q, and passes over it", key), where...)
		}
	}
	all := map[string]any{}
	if raw, ok := job.Settings[scope]; ok && json.Unmarshal(raw, &all) != nil {
		return // the job's own validation tells
	}
	maps.Copy(all, settings)
	text, err := json.Marshal(all)
	if err != nil {
		j.wrong(err.Error(), where...)
		return
	}
	if job.Settings == nil {
		job.Settings = map[string]json.RawMessage{}
	}
	job.Settings[scope] = text
}

// imported reads a job of Xen Orchestra's.
func (j *judge) imported(own *Job, folder string, where []string) *pipeline.Job {
	where = append(where, "xo")
	if own.ID != "" || own.Name != "" || own.Mode != "" || own.VMs != nil || len(own.Remotes) > 0 || own.Compression != nil || len(own.Settings) > 0 || len(own.Overrides) > 0 {
		j.wrong("the job is what its file says: other keys do not go with it", where...)
		return nil
	}
	text, err := os.ReadFile(from(folder, own.XO))
	if err != nil {
		j.wrong(err.Error(), where...)
		return nil
	}
	job := &pipeline.Job{}
	if err := json.Unmarshal(text, job); err != nil {
		j.wrong(own.XO+": "+err.Error(), where...)
		return nil
	}
	return job
}

// job says what makes a job unfit.
func (j *judge) job(c *Config, job *pipeline.Job, where []string) {
	if err := job.Validate(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			j.wrong(strings.TrimPrefix(line, "pipeline: "), where...)
		}
		return
	}
	ids, err := job.RemoteIDs()
	if err != nil {
		return // Validate has told
	}
	for _, id := range ids {
		if _, r := c.Remote(id); r == nil {
			j.wrong(fmt.Sprintf("no remote is named %q, or has that as its xo", id), append(where, "remotes")...)
		}
	}
}

// Job is the job of that name, ready to run, or nil.
func (c *Config) Job(name string) *pipeline.Job { return c.built[name] }

// named checks the name of a thing, and that there is something under it.
func (j *judge) named(name string, empty bool, kind string) bool {
	if !names.MatchString(name) {
		j.wrong("a name has letters, digits, '.', '_' and '-' only, 64 at most, and begins with a letter or digit", kind, name)
	}
	if empty {
		j.wrong("nothing is said about it", kind, name)
	}
	return !empty
}
