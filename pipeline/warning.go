package pipeline

import (
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"

	"github.com/xenbackup/xenbackup/vhd"
)

// Warning is something about a job that runs, but perhaps not as it was meant.
type Warning struct {
	Scope   string // of the settings; "" is the whole job
	Setting string // "" is none in particular
	Text    string
}

// String is the warning in one line.
func (w Warning) String() string {
	text := w.Text
	if w.Setting != "" {
		text = w.Setting + ": " + text
	}
	if w.Scope != "" {
		text = "scope " + w.Scope + ": " + text
	}
	return text
}

// maxKeptSnapshots is how many snapshots of a disk most storages bear: their chains
// end at 30, and the disk, a running backup and coalescing need some.
const maxKeptSnapshots = 25

// Warnings says, for whoever wrote the job, what of it is likely to disappoint. The
// URLs of its repositories, by their ids, may be nil. The job must be valid.
func (j *Job) Warnings(remotes map[string]string) []Warning {
	var warnings []Warning
	scopes := slices.Sorted(maps.Keys(j.Settings))
	if !slices.Contains(scopes, "") {
		scopes = append([]string{""}, scopes...)
	}
	said := map[Warning]bool{}
	for _, scope := range scopes {
		settings, err := j.Resolve("", scope)
		if err != nil {
			continue // Validate says so
		}
		for _, w := range j.doubts(&settings) {
			if !said[w] { // once, in the widest scope
				said[w] = true
				w.Scope = scope
				warnings = append(warnings, w)
			}
		}
	}
	ids, _ := j.RemoteIDs()
	for _, id := range ids {
		u, err := url.Parse(remotes[id])
		if err == nil && u.Scheme == "smb" && j.Mode == ModeDelta {
			warnings = append(warnings, Warning{Scope: id, Text: "the merges of delta backups are slow on SMB: above some 50 GiB per VM use NFS, or full backups"})
		}
	}
	return warnings
}

// doubts are what to think of about resolved settings.
func (j *Job) doubts(s *Settings) []Warning {
	var doubts []Warning
	doubt := func(setting, format string, args ...any) {
		doubts = append(doubts, Warning{Setting: setting, Text: fmt.Sprintf(format, args...)})
	}
	for _, key := range s.NotHonoured {
		doubt(key, "not supported, and passed over: %s", passedOver[key])
	}
	if links := j.chainLength(s); links > vhd.FileRestoreMaxLinks {
		doubt("fullInterval", "chains may grow to %d links; files are restored from up to %d: have a full backup at least every %d runs, or keep fewer points",
			links, vhd.FileRestoreMaxLinks, vhd.FileRestoreMaxLinks)
	}
	if s.DeleteFirst && s.keeps() {
		doubt("deleteFirst", "expired points are deleted before the new one is safe")
	}
	if s.MaxMergedDeltasPerRun == 0 && j.Mode == ModeDelta {
		doubt("maxMergedDeltasPerRun", "at 0 no point ever expires")
	}
	if s.OfflineBackup || s.OfflineSnapshot {
		if s.CheckpointSnapshot {
			doubt("checkpointSnapshot", "a guest that is shut down has no memory to be kept")
		}
		if j.Mode == ModeFull && s.OfflineBackup && s.UnconditionalSnapshot {
			doubt("unconditionalSnapshot", "the guest is down during the export all the same")
		}
	}
	if s.SnapshotRetention > maxKeptSnapshots {
		doubt("snapshotRetention", "chains of %d snapshots are more than most storages bear; they end at 30", s.SnapshotRetention)
	}
	return doubts
}

// chainLength is how many disks a chain may have, of which one is full.
func (j *Job) chainLength(s *Settings) int {
	if j.Mode != ModeDelta || !s.keeps() {
		return 0
	}
	kept := s.ExportRetention
	if l := s.LongTerm; l != nil {
		kept += l.Daily.Keep + l.Weekly.Keep + l.Monthly.Keep + l.Yearly.Keep
	}
	interval := s.FullInterval
	if interval == 0 {
		interval = math.MaxInt
	}
	return min(kept, interval)
}
