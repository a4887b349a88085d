package xapi

import "encoding/json"

// VTPM is a virtual TPM of a VM.
type VTPM struct {
	UUID               string            `json:"uuid"`
	AllowedOperations  []string          `json:"allowed_operations"`
	CurrentOperations  map[string]string `json:"current_operations"`
	VM                 Ref[VM]           `json:"VM"`
	Backend            Ref[VM]           `json:"backend"`
	PersistenceBackend string            `json:"persistence_backend"`
	IsUnique           bool              `json:"is_unique"`
	IsProtected        bool              `json:"is_protected"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (VTPM) class() string { return "VTPM" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (vtpm *VTPM) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, vtpm, &vtpm.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (vtpm VTPM) MarshalJSON() ([]byte, error) { return marshalRecord(&vtpm, vtpm.Extra) }
