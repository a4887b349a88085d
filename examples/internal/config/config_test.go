package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/examples/internal/config"
	"github.com/xenbackup/xenbackup/schedule"
)

const good = `state: state
listen: 127.0.0.1:0
limits: {snapshots: 3, memory: 64MiB}
pools:
  main:
    url: https://host.example
    password: {env: CONFIG_TEST_PASSWORD}
    fingerprint: ` + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" + `
remotes:
  disk:
    url: file:///srv/backups
    xo: 11111111-0000-4000-8000-00000000000a
jobs:
  nightly:
    vms: {smart: {any_tags: [prod]}}
    remotes: [disk]
    settings: {concurrency: 4}
  moved: {xo: job.json}
schedules:
  nightly:
    job: nightly
    cron: "30 1 * * *"
    zone: Europe/Berlin
    retention: 14
    full_interval: 7
    overlap: queue
    catch_up: 6h
  moved:
    job: moved
    id: 22222222-0000-4000-8000-00000000000b
    cron: "0 0 1 0 *"
    dialect: xo
  both: {sequence: [nightly, moved], cron: "@weekly"}
`

const xoJob = `{"id":"33333333-0000-4000-8000-00000000000c","name":"from XO","type":"backup","mode":"delta","vms":{"id":"44444444-0000-4000-8000-00000000000d"},
"remotes":{"id":"11111111-0000-4000-8000-00000000000a"},"settings":{"22222222-0000-4000-8000-00000000000b":{"exportRetention":5}},"more":1}`

// load writes the text to a file and loads it.
func load(t *testing.T, text string) (*config.Config, []string, bool) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "job.json"), []byte(xoJob), 0o600))
	file := filepath.Join(dir, "c.yaml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	c, problems := config.Load(file)
	var said []string
	for _, p := range problems {
		said = append(said, strings.ReplaceAll(p.String(), dir+string(filepath.Separator), ""))
	}
	return c, said, config.OK(problems)
}

func TestMapsWhatIsWrittenOnJobsAndSchedules(t *testing.T) {
	t.Setenv("CONFIG_TEST_PASSWORD", "secret")
	c, said, ok := load(t, good)
	require.True(t, ok, "%v", said)
	require.Empty(t, said)

	job := c.Job("nightly")
	require.Equal(t, "nightly", job.ID)
	require.JSONEq(t, `{"type":"VM","tags":{"__or":[["prod"]]}}`, string(job.VMs))
	s, err := job.Resolve("", "nightly")
	require.NoError(t, err)
	require.Equal(t, []int{14, 7, 4}, []int{s.ExportRetention, s.FullInterval, s.Concurrency})

	moved := c.Job("moved")
	require.Equal(t, "33333333-0000-4000-8000-00000000000c", moved.ID)
	require.Equal(t, "1", string(moved.Extra["more"]))
	name, _ := c.Remote("11111111-0000-4000-8000-00000000000a")
	require.Equal(t, "disk", name)

	require.Equal(t, schedule.Queue, c.Schedules["nightly"].Policy())
	require.Equal(t, 6*time.Hour, c.Schedules["nightly"].CatchUp)
	require.Equal(t, time.January, c.Schedules["moved"].When().Next(time.Now()).Month())
	require.Equal(t, 3, c.PoolLimits().Snapshot)
	require.Equal(t, 12, c.PoolLimits().DiskExport)
	require.Equal(t, int64(64<<20), c.Memory())
	require.Equal(t, int64(256<<20), c.History.Bytes())
	var scheduled []string
	for _, own := range c.Scheduled() {
		scheduled = append(scheduled, own.ID)
	}
	require.Equal(t, []string{moved.ID, "nightly"}, scheduled)
	secret, err := c.Pools["main"].Options(nil, nil).PasswordSource(t.Context())
	require.NoError(t, err)
	require.Equal(t, "secret", string(secret))
}

func TestSettingsThatTheLibraryKnowsAreNotDoubted(t *testing.T) {
	t.Setenv("CONFIG_TEST_PASSWORD", "secret")
	_, said, ok := load(t, strings.Replace(good, "retention: 14", "settings: {longTermRetention: {daily: {retention: 7}}, timezone: Europe/Berlin, timeout: 3600000}", 1))
	require.True(t, ok, "%v", said)
	require.Empty(t, said)
}

func TestEachMistakeIsToldWithItsLine(t *testing.T) {
	t.Setenv("CONFIG_TEST_PASSWORD", "hunter2")
	for _, row := range []struct{ name, old, new, says string }{
		{"unknown key", "retention: 14", "retentoin: 14", `c.yaml:24: unknown key "retentoin"`},
		{"unknown key at the top", "listen:", "lisen:", "c.yaml:2: "},
		{"twice", "listen: 127.0.0.1:0", "state: x", "c.yaml:2: "},
		{"no YAML", "limits: {", "limits: {{", "c.yaml:"},
		{"type", "retention: 14", "retention: many", "c.yaml:24: a value of type str does not fit here: int needed"},
		{"cron", `"30 1 * * *"`, `"30 25 * * *"`, "c.yaml:22: schedules.nightly.cron: "},
		{"zone", "Europe/Berlin", "Europe/Bonn", `c.yaml:23: schedules.nightly.zone: "Europe/Bonn" is not a time zone`},
		{"overlap", "overlap: queue", "overlap: wait", "c.yaml:26: schedules.nightly.overlap"},
		{"no such job", "job: nightly", "job: nightyl", "c.yaml:21: schedules.nightly.job"},
		{"no such remote", "remotes: [disk]", "remotes: [disc]", `c.yaml:16: jobs.nightly.remotes: no remote is named "disc"`},
		{"no such part", "[nightly, moved]", "[nightly, gone]", "c.yaml:33: schedules.both.sequence"},
		{"secret in the file", "{env: CONFIG_TEST_PASSWORD}", "hunter2", "c.yaml:7: "},
		{"secret in a wrong key", "{env: CONFIG_TEST_PASSWORD}", "{value: hunter2}", "c.yaml:7: "},
		{"secret for a pool", "url: https://host.example", "hunter2", "c.yaml:"},
		{"secret for pools", "pools:\n  main:", "pools:\n  other: hunter2\n  main:", "c.yaml:5: a value of type str does not fit here: keys and values needed"},
		{"unknown condition", "any_tags", "tags", `unknown key "tags"`},
		{"secret in the URL", "https://host", "https://root:hunter2@host", "c.yaml:6: pools.main.url: username and password"},
		{"secret in a remote", "file:///srv", "smb://me:hunter2@nas/srv", "c.yaml:11: remotes.disk.url: a password"},
		{"secret not set", "CONFIG_TEST_PASSWORD", "CONFIG_TEST_OTHER", "c.yaml:7: pools.main.password: the environment variable CONFIG_TEST_OTHER is not set"},
		{"fingerprint", "fingerprint: 0123", "fingerprint: 01", "c.yaml:8: pools.main.fingerprint"},
		{"scheme", "file:///srv", "ftp://srv", `c.yaml:11: remotes.disk.url: scheme "ftp"`},
		{"mode", "settings: {concurrency: 4}", "mode: copy", "c.yaml:14: jobs.nightly: job mode"},
		{"setting", "concurrency: 4", "concurrency: -4", "c.yaml:14: jobs.nightly: setting concurrency"},
		{"nothing kept", "retention: 14", "retention: 0", "c.yaml:20: schedules.nightly: nothing would be kept"},
		{"public", "127.0.0.1:0", "0.0.0.0:80", "c.yaml:2: listen: commands"},
		{"memory", "64MiB", "64kb", "c.yaml:3: limits.memory"},
		{"coverage", "limits:", "coverage: -1h\nlimits:", "c.yaml:3: coverage: negative"},
		{"history", "limits:", "history: {days: 7, size: 64KiB}\nlimits:", "c.yaml:3: history.size"},
		{"same id", "vms: {smart", "id: 33333333-0000-4000-8000-00000000000c\n    vms: {smart", "has the id of moved"},
		{"not only xo", "xo: job.json", "xo: job.json, mode: full", "c.yaml:18: jobs.moved.xo"},
		{"empty", good, "", "c.yaml: the file is empty"},
	} {
		t.Run(row.name, func(t *testing.T) {
			require.Contains(t, good, row.old)
			_, said, ok := load(t, strings.Replace(good, row.old, row.new, 1))
			require.False(t, ok)
			all := strings.Join(said, "\n")
			require.Contains(t, all, row.says)
			require.NotContains(t, all, "hunter2")
		})
	}
}

func TestDoubtsAreWarnings(t *testing.T) {
	t.Setenv("CONFIG_TEST_PASSWORD", "secret")
	for _, row := range []struct{ name, old, new, says string }{
		{"http", "https:", "http:", "c.yaml:6: warning: pools.main.url: http"},
		{"long chain", "retention: 14\n    full_interval: 7", "retention: 120", "warning: schedules.nightly: fullInterval: chains"},
		{"misspelt setting", "concurrency: 4", "concurency: 4", `warning: jobs.nightly.settings: the library knows no setting "concurency"`},
		{"setting not acted on", "concurrency: 4", "preferNbd: true", "warning: jobs.nightly: preferNbd: not supported"},
		{"never due", `cron: "@weekly"`, "enabled: true", "warning: schedules.both: without cron"},
	} {
		_, said, ok := load(t, strings.Replace(good, row.old, row.new, 1))
		require.True(t, ok, "%s: %v", row.name, said)
		require.Contains(t, strings.Join(said, "\n"), row.says)
	}
}
