package xapi

import "encoding/json"

// VMGuestMetrics is what the agent inside a VM reports. Networks holds addresses, as in 0/ipv4/0; Other holds the guest's features,
// as in feature-suspend.
type VMGuestMetrics struct {
	UUID              string            `json:"uuid"`
	OSVersion         map[string]string `json:"os_version"`
	NetBIOSName       map[string]string `json:"netbios_name"`
	PVDriversVersion  map[string]string `json:"PV_drivers_version"`
	PVDriversUpToDate bool              `json:"PV_drivers_up_to_date"`
	Memory            map[string]string `json:"memory"`
	Disks             map[string]string `json:"disks"`
	Networks          map[string]string `json:"networks"`
	Other             map[string]string `json:"other"`
	LastUpdated       Time              `json:"last_updated"`
	OtherConfig       map[string]string `json:"other_config"`
	Live              bool              `json:"live"`
	CanUseHotplugVBD  string            `json:"can_use_hotplug_vbd"`
	CanUseHotplugVIF  string            `json:"can_use_hotplug_vif"`
	PVDriversDetected bool              `json:"PV_drivers_detected"`
	Services          map[string]string `json:"services"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (VMGuestMetrics) class() string { return "VM_guest_metrics" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (m *VMGuestMetrics) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, m, &m.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (m VMGuestMetrics) MarshalJSON() ([]byte, error) { return marshalRecord(&m, m.Extra) }
