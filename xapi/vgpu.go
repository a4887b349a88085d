package xapi

import "encoding/json"

// VGPU is a virtual graphics processor of a VM.
type VGPU struct {
	UUID                    string            `json:"uuid"`
	VM                      Ref[VM]           `json:"VM"`
	GPUGroup                Ref[Object]       `json:"GPU_group"`
	Device                  string            `json:"device"`
	CurrentlyAttached       bool              `json:"currently_attached"`
	OtherConfig             map[string]string `json:"other_config"`
	Type                    Ref[Object]       `json:"type"`
	ResidentOn              Ref[Object]       `json:"resident_on"`
	ScheduledToBeResidentOn Ref[Object]       `json:"scheduled_to_be_resident_on"`
	CompatibilityMetadata   map[string]string `json:"compatibility_metadata"`
	ExtraArgs               string            `json:"extra_args"`
	PCI                     Ref[Object]       `json:"PCI"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (VGPU) class() string { return "VGPU" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (vgpu *VGPU) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, vgpu, &vgpu.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (vgpu VGPU) MarshalJSON() ([]byte, error) { return marshalRecord(&vgpu, vgpu.Extra) }
