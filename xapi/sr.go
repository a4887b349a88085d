package xapi

import "encoding/json"

// SR is a storage repository. Sizes are in bytes.
type SR struct {
	UUID                string            `json:"uuid"`
	NameLabel           string            `json:"name_label"`
	NameDescription     string            `json:"name_description"`
	AllowedOperations   []string          `json:"allowed_operations"`
	CurrentOperations   map[string]string `json:"current_operations"`
	VDIs                []Ref[VDI]        `json:"VDIs"`
	PBDs                []Ref[PBD]        `json:"PBDs"`
	VirtualAllocation   int64             `json:"virtual_allocation"`
	PhysicalUtilisation int64             `json:"physical_utilisation"`
	PhysicalSize        int64             `json:"physical_size"`
	Type                string            `json:"type"`
	ContentType         string            `json:"content_type"`
	Shared              bool              `json:"shared"`
	OtherConfig         map[string]string `json:"other_config"`
	Tags                []string          `json:"tags"`
	SMConfig            map[string]string `json:"sm_config"`
	LocalCacheEnabled   bool              `json:"local_cache_enabled"`
	Clustered           bool              `json:"clustered"`
	IsToolsSR           bool              `json:"is_tools_sr"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (SR) class() string { return "SR" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (sr *SR) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, sr, &sr.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (sr SR) MarshalJSON() ([]byte, error) { return marshalRecord(&sr, sr.Extra) }
