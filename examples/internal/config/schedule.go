package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/schedule"
)

// Schedule says when a job runs and how much it keeps; or when others run, one
// after the other.
type Schedule struct {
	Job      string   `yaml:"job"`
	Sequence []string `yaml:"sequence"` // of schedules, instead of a job
	ID       string   `yaml:"id"`       // Xen Orchestra's, when its settings and points are meant

	Cron    string `yaml:"cron"`
	Dialect string `yaml:"dialect"` // "standard", or "xo", whose months count from 0
	Zone    string `yaml:"zone"`    // such as Europe/Berlin
	Enabled *bool  `yaml:"enabled"`

	Retention    *int           `yaml:"retention"`     // exportRetention: points in each repository
	Snapshots    *int           `yaml:"snapshots"`     // snapshotRetention: snapshots on the pool
	FullInterval *int           `yaml:"full_interval"` // fullInterval: every nth is a full one
	Settings     map[string]any `yaml:"settings"`      // any others of Xen Orchestra's

	Overlap string        `yaml:"overlap"`  // "skip" or "queue"
	CatchUp time.Duration `yaml:"catch_up"` // how late a missed time is made up for

	when *schedule.Cron
}

func (j *judge) schedules(c *Config) {
	ids := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Schedules)) {
		s := c.Schedules[name]
		where := []string{"schedules", name}
		if !j.named(name, s == nil, "schedules") {
			continue
		}
		s.ID = cmp.Or(s.ID, name)
		if other, taken := ids[s.ID]; taken {
			j.wrong("has the id of "+other, where...)
		}
		ids[s.ID] = name
		j.timetable(s, where)
		if (s.Job == "") == (len(s.Sequence) == 0) {
			j.wrong("either job or sequence is needed", where...)
			continue
		}
		if s.Job == "" {
			j.sequence(c, s, where)
			continue
		}
		if c.Jobs[s.Job] == nil {
			j.wrong(fmt.Sprintf("there is no job %q", s.Job), append(where, "job")...)
			continue
		}
		if job := c.built[s.Job]; job != nil {
			j.retention(s, job, where)
		}
	}
}

func (j *judge) timetable(s *Schedule, where []string) {
	dialect := schedule.Standard
	switch s.Dialect {
	case "", "standard":
	case "xo":
		dialect = schedule.XO
	default:
		j.wrong(fmt.Sprintf("%q is neither standard nor xo", s.Dialect), append(where, "dialect")...)
	}
	zone, err := time.LoadLocation(cmp.Or(s.Zone, "UTC"))
	if err != nil {
		j.wrong(fmt.Sprintf("%q is not a time zone, such as Europe/Berlin", s.Zone), append(where, "zone")...)
	}
	if s.Cron != "" {
		if s.when, err = schedule.Parse(s.Cron, dialect, zone); err != nil {
			j.wrong(err.Error(), append(where, "cron")...)
		}
	} else if s.On() {
		j.warn("without cron it is never due by itself", where...)
	}
	if s.Overlap != "" && s.Overlap != "skip" && s.Overlap != "queue" {
		j.wrong(fmt.Sprintf("%q is neither skip nor queue", s.Overlap), append(where, "overlap")...)
	}
	if s.CatchUp < 0 {
		j.wrong("negative", append(where, "catch_up")...)
	}
}

func (j *judge) sequence(c *Config, s *Schedule, where []string) {
	if s.Retention != nil || s.Snapshots != nil || s.FullInterval != nil || len(s.Settings) > 0 {
		j.wrong("what is kept is said in its parts", where...)
	}
	for _, part := range s.Sequence {
		switch p := c.Schedules[part]; {
		case p == nil:
			j.wrong(fmt.Sprintf("there is no schedule %q", part), append(where, "sequence")...)
		case p.Job == "":
			j.wrong(fmt.Sprintf("%q is a sequence itself", part), append(where, "sequence")...)
		}
	}
}

// retention puts what the schedule says into the settings of its job.
func (j *judge) retention(s *Schedule, job *pipeline.Job, where []string) {
	settings := maps.Clone(s.Settings)
	if settings == nil {
		settings = map[string]any{}
	}
	for key, n := range map[string]*int{"exportRetention": s.Retention, "snapshotRetention": s.Snapshots, "fullInterval": s.FullInterval} {
		if n != nil {
			settings[key] = *n
		}
	}
	j.scope(job, s.ID, settings, where...)
	got, err := job.Resolve("", s.ID)
	if err != nil {
		j.wrong(err.Error(), where...)
		return
	}
	remotes, _ := job.RemoteIDs()
	scopes := maps.Clone(job.Settings)
	delete(scopes, "")
	delete(scopes, s.ID)
	if got.SnapshotRetention == 0 && (got.ExportRetention == 0 && got.LongTerm == nil || len(remotes) == 0) && len(scopes) == 0 {
		j.wrong("nothing would be kept: retention, and a remote in the job, or snapshots are needed", where...)
	}
}

// finish tells of what nothing uses.
func (j *judge) finish(c *Config) {
	used, due := map[string]bool{}, map[string]bool{}
	for _, s := range c.Schedules {
		if s != nil {
			due[s.Job] = true
		}
	}
	for name, job := range c.built {
		if !due[name] {
			j.warn("no schedule runs it: it runs by hand only", "jobs", name)
		}
		ids, _ := job.RemoteIDs()
		for _, id := range ids {
			remote, _ := c.Remote(id)
			used[remote] = true
		}
	}
	for name, job := range c.built {
		j.doubts(c, name, job)
	}
	for name := range c.Remotes {
		if !used[name] {
			j.warn("no job writes to it", "remotes", name)
		}
	}
	slices.SortStableFunc(j.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Text, b.Text))
	})
}

// doubts are the library's about a job that is valid.
func (j *judge) doubts(c *Config, name string, job *pipeline.Job) {
	if job.Validate() != nil {
		return
	}
	urls := map[string]string{}
	ids, _ := job.RemoteIDs()
	for _, id := range ids {
		if _, r := c.Remote(id); r != nil {
			urls[id] = r.URL
		}
	}
	for _, w := range job.Warnings(urls) {
		where := []string{"jobs", name}
		for schedule, s := range c.Schedules {
			if s != nil && s.Job == name && s.ID == w.Scope {
				where, w.Scope = []string{"schedules", schedule}, ""
			}
		}
		j.warn(w.String(), where...)
	}
}

// On says whether it is due by itself.
func (s *Schedule) On() bool { return s.Enabled == nil || *s.Enabled }

// When is its timetable, nil without cron.
func (s *Schedule) When() *schedule.Cron { return s.when }

// Policy is what becomes of it while its job runs.
func (s *Schedule) Policy() schedule.Overlap {
	if s.Overlap == "queue" {
		return schedule.Queue
	}
	return schedule.Skip
}

// Scheduled are the jobs that a schedule runs by itself, alone or in a sequence.
func (c *Config) Scheduled() []*pipeline.Job {
	due := map[string]bool{}
	for _, s := range c.Schedules {
		if !s.On() || s.when == nil {
			continue
		}
		due[s.Job] = true
		for _, part := range s.Sequence {
			due[c.Schedules[part].Job] = true
		}
	}
	var jobs []*pipeline.Job
	for _, name := range slices.Sorted(maps.Keys(c.built)) {
		if due[name] {
			jobs = append(jobs, c.built[name])
		}
	}
	return jobs
}

// ScheduleOf is the schedule by which a job runs by hand: the named one, or its
// only one; of several one must be named. "" is for a job without any.
func (c *Config) ScheduleOf(job, named string) (string, error) {
	var own []string
	for name, s := range c.Schedules {
		if s != nil && s.Job == job {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	switch {
	case c.built[job] == nil:
		return "", fmt.Errorf("there is no job %q", job)
	case named != "" && slices.Contains(own, named):
		return named, nil
	case named != "":
		return "", fmt.Errorf("job %s has no schedule %q", job, named)
	case len(own) > 1:
		return "", fmt.Errorf("job %s has the schedules %v, and retention counts by schedule: name one with -schedule", job, own)
	case len(own) == 1:
		return own[0], nil
	}
	return "", nil
}
