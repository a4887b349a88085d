package xapi

import "encoding/json"

// PBD is the plug between a host and an SR. DeviceConfig may hold secrets of the storage: never log it.
type PBD struct {
	UUID              string            `json:"uuid"`
	Host              Ref[Host]         `json:"host"`
	SR                Ref[SR]           `json:"SR"`
	DeviceConfig      map[string]string `json:"device_config"`
	CurrentlyAttached bool              `json:"currently_attached"`
	OtherConfig       map[string]string `json:"other_config"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (PBD) class() string { return "PBD" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (pbd *PBD) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, pbd, &pbd.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (pbd PBD) MarshalJSON() ([]byte, error) { return marshalRecord(&pbd, pbd.Extra) }
