package xapi

import "encoding/json"

// VDI is a virtual disk. VirtualSize and PhysicalUtilisation are in bytes; the storage may round a requested size up, so read it
// again after VDI.create.
type VDI struct {
	UUID                string            `json:"uuid"`
	NameLabel           string            `json:"name_label"`
	NameDescription     string            `json:"name_description"`
	AllowedOperations   []string          `json:"allowed_operations"`
	CurrentOperations   map[string]string `json:"current_operations"`
	SR                  Ref[SR]           `json:"SR"`
	VBDs                []Ref[VBD]        `json:"VBDs"`
	VirtualSize         int64             `json:"virtual_size"`
	PhysicalUtilisation int64             `json:"physical_utilisation"`
	Type                string            `json:"type"`
	Sharable            bool              `json:"sharable"`
	ReadOnly            bool              `json:"read_only"`
	OtherConfig         map[string]string `json:"other_config"`
	StorageLock         bool              `json:"storage_lock"`
	Location            string            `json:"location"`
	Managed             bool              `json:"managed"`
	Missing             bool              `json:"missing"`
	Parent              Ref[VDI]          `json:"parent"`
	XenstoreData        map[string]string `json:"xenstore_data"`
	SMConfig            map[string]string `json:"sm_config"`
	IsASnapshot         bool              `json:"is_a_snapshot"`
	SnapshotOf          Ref[VDI]          `json:"snapshot_of"`
	Snapshots           []Ref[VDI]        `json:"snapshots"`
	SnapshotTime        Time              `json:"snapshot_time"`
	Tags                []string          `json:"tags"`
	AllowCaching        bool              `json:"allow_caching"`
	OnBoot              string            `json:"on_boot"`
	IsToolsISO          bool              `json:"is_tools_iso"`
	CBTEnabled          bool              `json:"cbt_enabled"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (VDI) class() string { return "VDI" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (vdi *VDI) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, vdi, &vdi.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (vdi VDI) MarshalJSON() ([]byte, error) { return marshalRecord(&vdi, vdi.Extra) }
