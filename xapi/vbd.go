package xapi

import "encoding/json"

// VBD attaches a VDI, or an empty drive, to a VM.
type VBD struct {
	UUID                   string            `json:"uuid"`
	AllowedOperations      []string          `json:"allowed_operations"`
	CurrentOperations      map[string]string `json:"current_operations"`
	VM                     Ref[VM]           `json:"VM"`
	VDI                    Ref[VDI]          `json:"VDI"`
	Device                 string            `json:"device"`
	Userdevice             string            `json:"userdevice"`
	Bootable               bool              `json:"bootable"`
	Mode                   string            `json:"mode"`
	Type                   string            `json:"type"`
	Unpluggable            bool              `json:"unpluggable"`
	StorageLock            bool              `json:"storage_lock"`
	Empty                  bool              `json:"empty"`
	OtherConfig            map[string]string `json:"other_config"`
	CurrentlyAttached      bool              `json:"currently_attached"`
	StatusCode             int64             `json:"status_code"`
	StatusDetail           string            `json:"status_detail"`
	RuntimeProperties      map[string]string `json:"runtime_properties"`
	QoSAlgorithmType       string            `json:"qos_algorithm_type"`
	QoSAlgorithmParams     map[string]string `json:"qos_algorithm_params"`
	QoSSupportedAlgorithms []string          `json:"qos_supported_algorithms"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (VBD) class() string { return "VBD" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (vbd *VBD) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, vbd, &vbd.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (vbd VBD) MarshalJSON() ([]byte, error) { return marshalRecord(&vbd, vbd.Extra) }
