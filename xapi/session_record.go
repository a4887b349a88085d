package xapi

import "encoding/json"

// Session is the record of a login. Its reference is a secret: whoever holds it is logged in.
type Session struct {
	UUID             string            `json:"uuid"`
	ThisHost         Ref[Host]         `json:"this_host"`
	ThisUser         Ref[Object]       `json:"this_user"`
	LastActive       Time              `json:"last_active"`
	Pool             bool              `json:"pool"`
	OtherConfig      map[string]string `json:"other_config"`
	IsLocalSuperuser bool              `json:"is_local_superuser"`
	Subject          Ref[Object]       `json:"subject"`
	ValidationTime   Time              `json:"validation_time"`
	AuthUserSID      string            `json:"auth_user_sid"`
	AuthUserName     string            `json:"auth_user_name"`
	Tasks            []Ref[Task]       `json:"tasks"`
	Originator       string            `json:"originator"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (Session) class() string { return "session" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (s *Session) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, s, &s.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (s Session) MarshalJSON() ([]byte, error) { return marshalRecord(&s, s.Extra) }
