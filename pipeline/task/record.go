package task

import "time"

// Record is a task as XO's API shows it in a consolidated job log. Times are in
// milliseconds since 1970. Only the root has the fields of a job.
type Record struct {
	ID         string         `json:"id"`
	JobID      string         `json:"jobId,omitempty"`
	JobName    string         `json:"jobName,omitempty"`
	ScheduleID string         `json:"scheduleId,omitempty"`
	Message    string         `json:"message"` // the name of the task; "backup" for the root
	Data       map[string]any `json:"data,omitempty"`
	Start      int64          `json:"start"`
	End        int64          `json:"end,omitempty"` // 0 while pending
	Status     Status         `json:"status"`
	Result     any            `json:"result,omitempty"`
	Infos      []Message      `json:"infos,omitempty"`
	Warnings   []Message      `json:"warnings,omitempty"`
	Tasks      []*Record      `json:"tasks,omitempty"`
}

// Message is something a task had to say: an info or a warning.
type Message struct {
	Message string         `json:"message"`
	Data    map[string]any `json:"data,omitempty"`
}

// ErrorResult is the result of a task that did not succeed.
type ErrorResult struct {
	Message string         `json:"message"`
	Name    string         `json:"name"` // "Error", as JavaScript calls it
	Code    string         `json:"code,omitempty"`
	Errors  []*ErrorResult `json:"errors,omitempty"` // the parts of a joined error
}

// NewErrorResult describes err. The code is that of the first error in its
// tree with a method ErrorCode() string.
func NewErrorResult(err error) *ErrorResult {
	res := &ErrorResult{Message: err.Error(), Name: "Error", Code: codeOf(err)}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // the outermost join alone is listed
		for _, e := range joined.Unwrap() {
			res.Errors = append(res.Errors, NewErrorResult(e))
		}
	}
	return res
}

func codeOf(err error) string {
	type coder interface{ ErrorCode() string }
	if c, ok := as[coder](err); ok {
		return c.ErrorCode()
	}
	return ""
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
