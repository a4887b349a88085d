package pipeline_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/pipeline"
	"github.com/xenbackup/xenbackup/pipeline/task"
)

// smartJob is a job as XO stores it: smart mode, two schedules, long-term retention.
const smartJob = `{
	"id": "6a7f5fd5-bd11-4e71-ad8f-1dbaa2b5b2c4", "name": "Production", "type": "backup", "mode": "delta", "compression": "",
	"userId": "b09ee04e-c0b1-4ad7-a8b4-3f3ca8d0ba8b", "proxy": null,
	"vms": {"type": "VM", "power_state": "Running", "tags": {"__and": [
		{"__or": [["prod"]]}, {"__not": {"__or": [["Continuous Replication"], ["Disaster Recovery"]]}}]}},
	"remotes": {"id": {"__or": ["r"]}}, "srs": {"id": {"__or": []}},
	"settings": {
		"": {"timezone": "Europe/Paris", "reportWhen": "always", "reportRecipients": ["ops@example.org"], "concurrency": 0},
		"0e0c1d5c-1c5a-4b0d-9b1f-6a9d8a2d7a11": {"exportRetention": 2},
		"4e2b1a57-77c2-4d13-a90e-5f7c3a2f9c22": {"exportRetention": 1, "fullInterval": 1, "healthCheckVmsWithTags": [],
			"longTermRetention": {"weekly": {"retention": 4, "settings": {}}, "monthly": {"retention": 12}}}
	}
}`

// outline is the shape of a task.
func outline(r *task.Record) any {
	out := map[string]any{"message": r.Message, "status": string(r.Status)}
	for _, key := range []string{"type", "id", "name_label", "isFull", "mode", "reportWhen"} {
		if v, ok := r.Data[key]; ok {
			out[key] = v
		}
	}
	var tasks []any
	for _, c := range r.Tasks {
		tasks = append(tasks, outline(c))
	}
	if tasks != nil {
		out["tasks"] = tasks
	}
	return out
}

func TestJobOfXORunsAndItsLogIsXOs(t *testing.T) {
	w := newWorld(t, "r")
	w.job = &pipeline.Job{}
	require.NoError(t, json.Unmarshal([]byte(smartJob), w.job))
	require.NoError(t, w.job.Validate())
	for i, schedule := range []string{"0e0c1d5c-1c5a-4b0d-9b1f-6a9d8a2d7a11", "4e2b1a57-77c2-4d13-a90e-5f7c3a2f9c22", "0e0c1d5c-1c5a-4b0d-9b1f-6a9d8a2d7a11"} {
		run, err := w.run(func(o *pipeline.RunOptions) { o.ScheduleID = schedule })
		require.NoError(t, err)
		done := func(message string, tasks ...any) map[string]any {
			m := map[string]any{"message": message, "status": "success"}
			if tasks != nil {
				m["tasks"] = tasks
			}
			return m
		}
		export := done("export", done("transfer"), done("clean-vm"))
		export["type"], export["id"], export["isFull"] = "remote", "r", i < 2
		clean := done("clean-vm")
		clean["id"] = "r"
		vm := done("backup VM", clean, done("snapshot"), export)
		vm["type"], vm["id"], vm["name_label"] = "VM", w.vm().UUID, "web"
		want := done("backup", vm)
		want["mode"], want["reportWhen"] = "delta", "always"
		if diff := cmp.Diff(any(want), outline(run.Record()), cmp.Transformer("text", func(v bool) string { return fmt.Sprint(v) })); diff != "" {
			t.Fatal(diff)
		}
	}
	points := w.checkPoints("r", 3)
	require.Len(t, points[1].Metadata.Tags, 2, "a week and a month")
	requireJSON(t, smartJob, w.job)
}
