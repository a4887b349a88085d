package config

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/xenbackup/xenbackup/pipeline"
)

// Config is what the file says.
type Config struct {
	// File is where it is.
	File string `yaml:"-"`
	// State is the folder for what the program has to remember.
	State string `yaml:"state"`
	// Listen is where status, metrics and commands are served: a loopback address and a
	// port. Empty serves nothing.
	Listen string `yaml:"listen"`
	// Metrics is a second address, of any network, for /metrics and /healthz alone.
	Metrics string `yaml:"metrics"`
	// Grace is how long backups may go on after a signal to stop, before they are cancelled.
	Grace time.Duration `yaml:"grace"`

	// Coverage is how often pools are asked for VMs that no job backs up; 0 is never.
	Coverage time.Duration `yaml:"coverage"`
	// History bounds the log of runs.
	History History `yaml:"history"`

	Limits    Limits               `yaml:"limits"`
	Pools     map[string]*Pool     `yaml:"pools"`
	Remotes   map[string]*Remote   `yaml:"remotes"`
	Jobs      map[string]*Job      `yaml:"jobs"`
	Schedules map[string]*Schedule `yaml:"schedules"`

	built map[string]*pipeline.Job
}

// Limits bound the work of all jobs together. What is absent is the default of
// the library, and 0 is no bound.
type Limits struct {
	Snapshots   *int   `yaml:"snapshots"`    // per pool
	DiskExports *int   `yaml:"disk_exports"` // per pool
	VMExports   *int   `yaml:"vm_exports"`   // per pool
	Memory      string `yaml:"memory"`       // of blocks on their way, such as 256MiB

	memory int64
}

// History says which runs stay in the log; 0 is no bound.
type History struct {
	Days int    `yaml:"days"` // those of so many
	Size string `yaml:"size"` // the newest, as many as take so much, such as 256MiB

	bytes int64
}

// Bytes returns Size as a number.
func (h *History) Bytes() int64 { return h.bytes }

// names are those of pools, remotes, jobs and schedules: they become names of
// folders and labels.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Load reads the file and says all that is wrong with it. The Config can be used
// if [OK] says so. Nothing is connected to; secrets are looked for.
func Load(file string) (*Config, []Problem) {
	j := &judge{file: file}
	text, err := os.ReadFile(file)
	if err != nil {
		j.file = filepath.Base(file)
		j.wrong(err.Error())
		return nil, j.problems
	}
	c := &Config{File: file, Grace: time.Minute, Coverage: time.Hour, History: History{Days: 365, Size: "256MiB"}}
	if !j.decode(string(text), c) {
		return nil, j.problems
	}
	folder := filepath.Dir(file)
	c.State = from(folder, c.State)
	j.general(c)
	j.pools(c, folder)
	j.remotes(c, folder)
	j.jobs(c, folder)
	j.schedules(c)
	j.finish(c)
	return c, j.problems
}

// decode reads one document, whose keys must all be known.
func (j *judge) decode(text string, c *Config) bool {
	j.root = &yaml.Node{}
	if err := yaml.Load([]byte(text), j.root); err != nil {
		if errors.Is(err, io.EOF) || strings.TrimSpace(text) == "" {
			err = errors.New("the file is empty: xenbackupd -h shows one")
		}
		j.parsing(err)
		return false
	}
	if err := j.root.Load(c, yaml.WithKnownFields()); err != nil {
		j.parsing(err)
		return false
	}
	return true
}

func (j *judge) general(c *Config) {
	if c.State == "" {
		j.wrong("needed: a folder for what has to be remembered, such as /var/lib/xenbackupd", "state")
	}
	for key, value := range map[string]time.Duration{"grace": c.Grace, "coverage": c.Coverage} {
		if value < 0 {
			j.wrong("negative", key)
		}
	}
	if c.Listen != "" && !isLoopback(c.Listen) {
		j.wrong("commands are taken there: it must be a loopback address and a port, such as 127.0.0.1:9745. For /metrics alone there is the key metrics", "listen")
	}
	if c.Metrics != "" {
		if _, _, err := net.SplitHostPort(c.Metrics); err != nil {
			j.wrong("not an address and a port, such as :9746", "metrics")
		}
	}
	for key, n := range map[string]*int{"snapshots": c.Limits.Snapshots, "disk_exports": c.Limits.DiskExports, "vm_exports": c.Limits.VMExports} {
		if n != nil && *n < 0 {
			j.wrong("negative", "limits", key)
		}
	}
	var err error
	if c.Limits.memory, err = parseBytes(c.Limits.Memory, 32<<20); err != nil {
		j.wrong(err.Error(), "limits", "memory")
	}
	j.history(&c.History)
}

func (j *judge) history(h *History) {
	if h.Days < 0 {
		j.wrong("negative", "history", "days")
	}
	var err error
	if h.bytes, err = parseBytes(h.Size, 1<<20); err != nil {
		j.wrong(err.Error(), "history", "size")
	}
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// from is a path that is meant from a folder.
func from(folder, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(folder, path)
}

// PoolLimits returns the limits of each pool.
func (c *Config) PoolLimits() pipeline.Limits {
	limits := pipeline.DefaultLimits()
	for target, n := range map[*int]*int{
		&limits.Snapshot: c.Limits.Snapshots, &limits.DiskExport: c.Limits.DiskExports, &limits.VMExport: c.Limits.VMExports,
	} {
		if n != nil {
			*target = *n
		}
	}
	return limits
}

// Memory returns the bytes that blocks on their way may take; 0 is the default of the library.
func (c *Config) Memory() int64 { return c.Limits.memory }
