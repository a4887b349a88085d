package pipeline

import (
	"github.com/xenbackup/xenbackup/pipeline/task"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

// mergeProgress shows the merges of a clean-vm task as children of it, one after
// the other.
type mergeProgress struct {
	parent func() *task.Task
	disk   string
	merge  *task.Task // of disk, nil before the first
}

func (p *mergeProgress) update(disk string, done, total int64) {
	if p.merge == nil || p.disk != disk {
		p.end()
		p.disk, p.merge = disk, p.parent().Start("merge", nil)
	}
	p.merge.Progress(done, total)
}

// end ends the merge that was shown last. Its failure is its parent's.
func (p *mergeProgress) end() {
	if p.merge != nil {
		p.merge.Succeed(nil)
	}
}

// endClean ends the task of a cleaning.
func endClean(tk *task.Task, report *catalog.MergeReport, err error) {
	if err != nil {
		tk.Fail(coded(err))
		return
	}
	tk.Succeed(reportMerge(tk, report))
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
