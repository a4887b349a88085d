package pipeline_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
)

const xoJob = `{
	"id": "8f1c", "name": "nightly", "type": "backup", "mode": "delta", "compression": "", "userId": "u7",
	"vms": {"id": {"__or": ["vm1", "vm2"]}}, "remotes": {"id": "r1"}, "srs": {"id": {"__or": []}},
	"settings": {"": {"timezone": "Europe/Paris", "reportWhen": "never"}, "s1": {"exportRetention": 7, "ownerNote": "keep"}}
}`

func TestJobOfXOIsWrittenBackUnchanged(t *testing.T) {
	for _, text := range []string{
		xoJob,
		`{"id":"j","type":"backup","mode":"full","compression":null,"settings":{},"remotes":null,"vms":{"type":"VM"},"proxy":"p"}`,
		`{"id":"j","settings":null,"name":"","vms":{"id":"a"}}`,
	} {
		var job pipeline.Job
		require.NoError(t, json.Unmarshal([]byte(text), &job))
		requireJSON(t, text, &job)
	}
}

func requireJSON(t *testing.T, want string, job *pipeline.Job) {
	t.Helper()
	out, err := json.Marshal(job)
	require.NoError(t, err)
	var got, wanted any
	require.NoError(t, json.Unmarshal(out, &got))
	require.NoError(t, json.Unmarshal([]byte(want), &wanted))
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Fatal(diff)
	}
}

func TestJobThatWasChangedIsWrittenWithTheChanges(t *testing.T) {
	var job pipeline.Job
	require.NoError(t, json.Unmarshal([]byte(`{"id":"j","settings":{},"mode":"delta","compression":"zstd","proxy":"p"}`), &job))
	job.Name, job.Compression = "weekly", nil
	job.Settings["s"] = json.RawMessage(`{"exportRetention":1}`)
	requireJSON(t, `{"id":"j","name":"weekly","settings":{"s":{"exportRetention":1}},"mode":"delta","proxy":"p"}`, &job)
}

func TestWarningsSayWhatMayDisappoint(t *testing.T) {
	job := &pipeline.Job{
		ID: "j", Type: "backup", Mode: "delta", VMs: pipeline.IDs("vm"), Remotes: pipeline.IDs("nas", "win"),
		Settings: map[string]json.RawMessage{
			"":        json.RawMessage(`{"deleteFirst":true,"timezone":"UTC"}`),
			"nightly": json.RawMessage(`{"exportRetention":90,"longTermRetention":{"monthly":{"retention":12}}}`),
			"hourly":  json.RawMessage(`{"exportRetention":200,"fullInterval":24,"preferNbd":true,"snapshotRetention":30}`),
		},
	}
	require.NoError(t, job.Validate())
	var texts []string
	for _, w := range job.Warnings(map[string]string{"nas": "nfs://nas/export", "win": "smb://win/share"}) {
		texts = append(texts, w.String())
	}
	require.Equal(t, []string{
		"scope hourly: preferNbd: not supported, and passed over: disks are read as streams",
		"scope hourly: deleteFirst: expired points are deleted before the new one is safe",
		"scope hourly: snapshotRetention: chains of 30 snapshots are more than most storages bear; they end at 30",
		"scope nightly: fullInterval: chains may grow to 102 links; files are restored from up to 99: have a full backup at least every 99 runs, or keep fewer points",
		"scope win: the merges of delta backups are slow on SMB: above some 50 GiB per VM use NFS, or full backups",
	}, texts)
	job.Mode, job.Settings = "full", nil
	require.Empty(t, job.Warnings(nil))
}

func TestJobNamesVMsByExplicitPatternsOnly(t *testing.T) {
	for pattern, want := range map[string][]string{
		`{"id":"a"}`:                    {"a"},
		`{"id":{"__or":["a","b","a"]}}`: {"a", "b"},
		string(pipeline.IDs("a")):       {"a"},
		string(pipeline.IDs("a", "b")):  {"a", "b"},
	} {
		got, err := (&pipeline.Job{VMs: json.RawMessage(pattern)}).VMIDs()
		require.NoError(t, err, pattern)
		require.Equal(t, want, got, pattern)
	}
	for _, pattern := range []string{
		``, `{}`, `null`, `"a"`, `{"id":""}`, `{"id":["a"]}`, `{"id":{"__not":["a"]}}`, `{"id":{"__or":["a"],"__and":[]}}`,
		`{"type":"VM","power_state":"Running"}`, `{"id":"a","type":"VM"}`,
	} {
		_, err := (&pipeline.Job{VMs: json.RawMessage(pattern)}).VMIDs()
		require.ErrorIs(t, err, pipeline.ErrPatternUnsupported, pattern)
		require.ErrorContains(t, err, "vms: "+pattern)
	}
}

func TestJobWithoutRemotesHasNone(t *testing.T) {
	for _, pattern := range []string{"", "{}", "null", `{"id":{"__or":[]}}`} {
		ids, err := (&pipeline.Job{Remotes: json.RawMessage(pattern)}).RemoteIDs()
		require.NoError(t, err)
		require.Empty(t, ids)
	}
}

func TestSettingsCascade(t *testing.T) {
	job := pipeline.Job{Settings: map[string]json.RawMessage{
		"":     json.RawMessage(`{"concurrency": 0, "exportRetention": 3, "deleteFirst": true, "fullInterval": null, "preferNbd": false}`),
		"sch":  json.RawMessage(`{"exportRetention": 7, "snapshotRetention": 1, "fullInterval": 5, "preferNbd": true, "offlineSnapshot": true}`),
		"vm":   json.RawMessage(`{"exportRetention": 0, "diskPerVmConcurrency": 4, "maxMergedDeltasPerRun": 0}`),
		"repo": json.RawMessage(`{"deleteFirst": false, "reportWhen": "always"}`),
	}}
	defaults := pipeline.Settings{Concurrency: 2, MaxMergedDeltasPerRun: math.MaxInt, ReportWhen: "failure"}
	with := func(change func(*pipeline.Settings)) pipeline.Settings {
		s := defaults
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		scopes []string
		want   pipeline.Settings
	}{
		"nothing set": {nil, defaults},
		"a 0 that is set differs from an absent one": {[]string{""}, with(func(s *pipeline.Settings) {
			s.Concurrency, s.ExportRetention, s.DeleteFirst = 0, 3, true
		})},
		"the schedule wins over the job": {[]string{"", "sch"}, with(func(s *pipeline.Settings) {
			s.Concurrency, s.ExportRetention, s.DeleteFirst, s.SnapshotRetention, s.FullInterval = 0, 7, true, 1, 5
			s.OfflineSnapshot, s.NotHonoured = true, []string{"preferNbd"}
		})},
		"the VM and the target win over the schedule": {[]string{"", "sch", "vm", "repo"}, with(func(s *pipeline.Settings) {
			s.Concurrency, s.SnapshotRetention, s.FullInterval, s.DiskPerVMConcurrency = 0, 1, 5, 4
			s.MaxMergedDeltasPerRun, s.ReportWhen = 0, "always"
			s.OfflineSnapshot, s.NotHonoured = true, []string{"preferNbd"}
		})},
		"a scope that is not there": {[]string{"other"}, defaults},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := job.Resolve(c.scopes...)
			require.NoError(t, err)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestValidateSaysWhatIsWrong(t *testing.T) {
	valid := func() *pipeline.Job {
		return &pipeline.Job{ID: "j", Type: "backup", Mode: "delta", VMs: pipeline.IDs("vm"), Remotes: pipeline.IDs("r")}
	}
	require.NoError(t, valid().Validate())
	for want, change := range map[string]func(*pipeline.Job){
		"job without an id":                                      func(j *pipeline.Job) { j.ID = "" },
		`job type "mirrorBackup": only "backup"`:                 func(j *pipeline.Job) { j.Type = "mirrorBackup" },
		`job mode "other": only "delta" and "full"`:              func(j *pipeline.Job) { j.Mode = "other" },
		`compression "xz": only "native", "zstd" and no`:         func(j *pipeline.Job) { j.Compression = new("xz") },
		`vms: selector: pattern: tags.__or: needs a list`:        func(j *pipeline.Job) { j.VMs = json.RawMessage(`{"tags":{"__or":"x"}}`) },
		`vms: selector: pattern: not an object: null`:            func(j *pipeline.Job) { j.VMs = json.RawMessage(`null`) },
		`setting exportRetention: "x": not a whole`:              settings(`{"exportRetention":"x"}`),
		`setting exportRetention: -1: negative`:                  settings(`{"exportRetention":-1}`),
		`setting exportRetention: 1.5: not a whole`:              settings(`{"exportRetention":1.5}`),
		`setting offlineBackup: true: not with`:                  settings(`{"offlineBackup":true,"snapshotRetention":1}`),
		`setting deleteFirst: 1: neither true nor false`:         settings(`{"deleteFirst":1}`),
		`setting reportWhen: 1: not a string`:                    settings(`{"reportWhen":1}`),
		`{"daily":{"retention":7}}: needs the setting timezone`:  settings(`{"longTermRetention":{"daily":{"retention":7}}}`),
		`no period "hourly": there are daily, weekly`:            settings(`{"longTermRetention":{"hourly":{"retention":7}}}`),
		`daily: json: unknown field "keep"`:                      settings(`{"longTermRetention":{"daily":{"keep":7}}}`),
		`daily: no setting "firstDayOfWeek": there is firstHour`: settings(`{"longTermRetention":{"daily":{"retention":7,"settings":{"firstDayOfWeek":1}}}}`),
		`setting timezone: "Mars/Olympus": not the name of a`:    settings(`{"timezone":"Mars/Olympus","longTermRetention":{"daily":{"retention":7}}}`),
		`scope "": 3: not a JSON object`:                         settings(`3`),
	} {
		job := valid()
		change(job)
		require.ErrorContains(t, job.Validate(), want)
	}
}

func settings(text string) func(*pipeline.Job) {
	return func(j *pipeline.Job) { j.Settings = map[string]json.RawMessage{"": json.RawMessage(text)} }
}
