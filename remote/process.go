package remote

// process names a process for as long as its machine runs.
type process struct {
	Boot      string `json:"boot"`      // of the machine
	Namespace string `json:"namespace"` // in which the number counts: containers have their own
	PID       int    `json:"pid"`
	Start     string `json:"start"` // when it started, for numbers are used again
}
