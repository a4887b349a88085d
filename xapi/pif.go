package xapi

import "encoding/json"

// PIF is a physical network interface of a host, or a VLAN or bond on top of one. VLAN is -1 when there is none.
type PIF struct {
	UUID                  string            `json:"uuid"`
	Device                string            `json:"device"`
	Network               Ref[Network]      `json:"network"`
	Host                  Ref[Host]         `json:"host"`
	MAC                   string            `json:"MAC"`
	MTU                   int64             `json:"MTU"`
	VLAN                  int64             `json:"VLAN"`
	Physical              bool              `json:"physical"`
	CurrentlyAttached     bool              `json:"currently_attached"`
	IPConfigurationMode   string            `json:"ip_configuration_mode"`
	IP                    string            `json:"IP"`
	Netmask               string            `json:"netmask"`
	Gateway               string            `json:"gateway"`
	DNS                   string            `json:"DNS"`
	Management            bool              `json:"management"`
	OtherConfig           map[string]string `json:"other_config"`
	IPv6ConfigurationMode string            `json:"ipv6_configuration_mode"`
	IPv6                  []string          `json:"IPv6"`
	IPv6Gateway           string            `json:"ipv6_gateway"`
	PrimaryAddressType    string            `json:"primary_address_type"`
	Managed               bool              `json:"managed"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (PIF) class() string { return "PIF" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (pif *PIF) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, pif, &pif.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (pif PIF) MarshalJSON() ([]byte, error) { return marshalRecord(&pif, pif.Extra) }
