package xapi

import "encoding/json"

// VUSB passes a USB device of a host to a VM.
type VUSB struct {
	UUID              string            `json:"uuid"`
	AllowedOperations []string          `json:"allowed_operations"`
	CurrentOperations map[string]string `json:"current_operations"`
	VM                Ref[VM]           `json:"VM"`
	USBGroup          Ref[Object]       `json:"USB_group"`
	OtherConfig       map[string]string `json:"other_config"`
	CurrentlyAttached bool              `json:"currently_attached"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (VUSB) class() string { return "VUSB" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (vusb *VUSB) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, vusb, &vusb.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (vusb VUSB) MarshalJSON() ([]byte, error) { return marshalRecord(&vusb, vusb.Extra) }
