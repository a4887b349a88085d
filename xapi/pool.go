package xapi

import "encoding/json"

// Pool is the pool itself; there is exactly one. Fields that backups do not use stay in Extra.
type Pool struct {
	UUID                 string            `json:"uuid"`
	NameLabel            string            `json:"name_label"`
	NameDescription      string            `json:"name_description"`
	Master               Ref[Host]         `json:"master"`
	DefaultSR            Ref[SR]           `json:"default_SR"`
	SuspendImageSR       Ref[SR]           `json:"suspend_image_SR"`
	OtherConfig          map[string]string `json:"other_config"`
	HAEnabled            bool              `json:"ha_enabled"`
	Tags                 []string          `json:"tags"`
	Restrictions         map[string]string `json:"restrictions"`
	AllowedOperations    []string          `json:"allowed_operations"`
	CurrentOperations    map[string]string `json:"current_operations"`
	MigrationCompression bool              `json:"migration_compression"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (Pool) class() string { return "pool" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (p *Pool) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, p, &p.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (p Pool) MarshalJSON() ([]byte, error) { return marshalRecord(&p, p.Extra) }
