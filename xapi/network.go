package xapi

import "encoding/json"

// Network is a network of the pool. Purpose may hold nbd or insecure_nbd: disks are served over it.
type Network struct {
	UUID               string              `json:"uuid"`
	NameLabel          string              `json:"name_label"`
	NameDescription    string              `json:"name_description"`
	AllowedOperations  []string            `json:"allowed_operations"`
	CurrentOperations  map[string]string   `json:"current_operations"`
	VIFs               []Ref[VIF]          `json:"VIFs"`
	PIFs               []Ref[PIF]          `json:"PIFs"`
	MTU                int64               `json:"MTU"`
	OtherConfig        map[string]string   `json:"other_config"`
	Bridge             string              `json:"bridge"`
	Managed            bool                `json:"managed"`
	Tags               []string            `json:"tags"`
	DefaultLockingMode string              `json:"default_locking_mode"`
	AssignedIps        map[Ref[VIF]]string `json:"assigned_ips"`
	Purpose            []string            `json:"purpose"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (Network) class() string { return "network" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (n *Network) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, n, &n.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (n Network) MarshalJSON() ([]byte, error) { return marshalRecord(&n, n.Extra) }
