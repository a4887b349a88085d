package xapi

import "encoding/json"

// Message is something the pool wants to tell its administrators: Name is a code, ObjectClass and ObjectUUID say what it is about.
// Priority 1 is the most urgent, 5 the least.
type Message struct {
	UUID        string `json:"uuid"`
	Name        string `json:"name"`
	Priority    int64  `json:"priority"`
	ObjectClass string `json:"cls"`
	ObjectUUID  string `json:"obj_uuid"`
	Timestamp   Time   `json:"timestamp"`
	Body        string `json:"body"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (Message) class() string { return "message" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (m *Message) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, m, &m.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (m Message) MarshalJSON() ([]byte, error) { return marshalRecord(&m, m.Extra) }
