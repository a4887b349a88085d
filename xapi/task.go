package xapi

import "encoding/json"

// Task is the pool's record of something under way. Progress runs from 0 to 1. Result is XML-RPC value text; ErrorInfo is the error
// code followed by its parameters, empty after most cancellations.
type Task struct {
	UUID              string            `json:"uuid"`
	NameLabel         string            `json:"name_label"`
	NameDescription   string            `json:"name_description"`
	AllowedOperations []string          `json:"allowed_operations"`
	CurrentOperations map[string]string `json:"current_operations"`
	Created           Time              `json:"created"`
	Finished          Time              `json:"finished"`
	Status            string            `json:"status"`
	ResidentOn        Ref[Host]         `json:"resident_on"`
	Progress          float64           `json:"progress"`
	Type              string            `json:"type"`
	Result            string            `json:"result"`
	ErrorInfo         []string          `json:"error_info"`
	OtherConfig       map[string]string `json:"other_config"`
	SubtaskOf         Ref[Task]         `json:"subtask_of"`
	Subtasks          []Ref[Task]       `json:"subtasks"`
	Backtrace         string            `json:"backtrace"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (Task) class() string { return "task" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (t *Task) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, t, &t.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (t Task) MarshalJSON() ([]byte, error) { return marshalRecord(&t, t.Extra) }
