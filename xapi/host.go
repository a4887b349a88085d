package xapi

import "encoding/json"

// Host is a physical machine of the pool. Fields that backups do not use stay in Extra.
type Host struct {
	UUID              string            `json:"uuid"`
	NameLabel         string            `json:"name_label"`
	NameDescription   string            `json:"name_description"`
	AllowedOperations []string          `json:"allowed_operations"`
	CurrentOperations map[string]string `json:"current_operations"`
	APIVersionMajor   int64             `json:"API_version_major"`
	APIVersionMinor   int64             `json:"API_version_minor"`
	Enabled           bool              `json:"enabled"`
	SoftwareVersion   map[string]string `json:"software_version"`
	OtherConfig       map[string]string `json:"other_config"`
	ResidentVMs       []Ref[VM]         `json:"resident_VMs"`
	PIFs              []Ref[PIF]        `json:"PIFs"`
	SuspendImageSR    Ref[SR]           `json:"suspend_image_sr"`
	PBDs              []Ref[PBD]        `json:"PBDs"`
	Hostname          string            `json:"hostname"`
	Address           string            `json:"address"`
	Metrics           Ref[Object]       `json:"metrics"`
	LicenseParams     map[string]string `json:"license_params"`
	Tags              []string          `json:"tags"`
	Edition           string            `json:"edition"`
	ControlDomain     Ref[VM]           `json:"control_domain"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (Host) class() string { return "host" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (h *Host) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, h, &h.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (h Host) MarshalJSON() ([]byte, error) { return marshalRecord(&h, h.Extra) }
