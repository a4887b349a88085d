package pipeline

// passedOver are the settings of XO's jobs that a run does not act on. Where that makes
// a backup another one than was asked for, the reason is told. A run without them is
// still a backup.
var passedOver = map[string]string{
	"cbtDestroySnapshotData": "disks are compared with their snapshots, which therefore stay",
	"copyRetention":          "there are no replicas",
	"distributeBackups":      "each VM goes to all repositories of the job",
	"distributeReplications": "there are no replicas",
	"healthCheckSr":          "no VM is started to see whether its backup is good",
	"preferNbd":              "disks are read as streams",
	"skipDeleteOldEntries":   "points that retention does not keep are deleted",
	"synchronizedSnapshot":   "a VM's snapshot is taken when the VM begins, so of all at first only with a concurrency of 0",
	"useNbd":                 "disks are read as streams",

	// What these ask for is always done, or belongs to one of those above, or to whoever
	// opens repositories and sends reports.
	"backupReportTpl":           "",
	"getRemoteTimeout":          "",
	"healthCheckTimeout":        "",
	"healthCheckVmsWithTags":    "",
	"hideSuccessfulItems":       "",
	"mergeBackupsSynchronously": "",
	"nbdConcurrency":            "",
	"reportRecipients":          "",
	"validateVhdStreams":        "",
}

// IsSetting says whether a run acts on the setting of a job, or knowingly passes over
// it, as the package documentation lists them. Others are kept all the same.
func IsSetting(key string) bool {
	_, honoured := new(Settings).fields()[key]
	_, known := passedOver[key]
	return honoured || known || key == "longTermRetention" || key == "timezone"
}
