package pipeline

import (
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// mergeOptions shows merges as a child of a clean-vm task, once there is one to
// show. reportMerge ends it.
func mergeOptions(tk *task.Task) *catalog.MergeOptions {
	var merge *task.Task
	return &catalog.MergeOptions{Progress: func(_ string, done, total int64) {
		if merge == nil {
			merge = tk.Start("merge", nil)
		}
		merge.Progress(done, total)
		if done == total {
			merge.Succeed(nil)
			merge = nil
		}
	}}
}

// reportMerge says what cleaning found, and returns the result of its task.
func reportMerge(tk *task.Task, report *catalog.MergeReport) map[string]any {
	for _, f := range report.Unknown {
		tk.Warning("left alone, since it could not be judged", finding(f))
	}
	for _, f := range report.Left {
		tk.Warning("not in order, and not proven to be garbage", finding(f))
	}
	if len(report.Removed) > 0 {
		tk.Info("unused files removed", map[string]any{"files": report.Removed})
	}
	var size int64
	for _, m := range report.Merged {
		size += m.Size
		tk.Info("disks merged", map[string]any{"disk": m.Path, "chain": m.Chain, "size": m.Size, "resumed": m.Resumed})
	}
	return map[string]any{"merge": len(report.Merged) > 0, "size": size}
}

func finding(f catalog.Finding) map[string]any {
	return map[string]any{"path": f.Path, "error": f.Err.Error()}
}
