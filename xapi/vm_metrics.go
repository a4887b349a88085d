package xapi

import "encoding/json"

// VMMetrics is what the pool measures of a VM from outside. CurrentDomainType is what a running VM was started as; MemoryActual is in
// bytes. The maps are by number of a VCPU, or of a NUMA node.
type VMMetrics struct {
	UUID              string              `json:"uuid"`
	MemoryActual      int64               `json:"memory_actual"`
	VCPUsNumber       int64               `json:"VCPUs_number"`
	VCPUsUtilisation  map[string]float64  `json:"VCPUs_utilisation"`
	VCPUsCPU          map[string]int64    `json:"VCPUs_CPU"`
	VCPUsParams       map[string]string   `json:"VCPUs_params"`
	VCPUsFlags        map[string][]string `json:"VCPUs_flags"`
	State             []string            `json:"state"`
	StartTime         Time                `json:"start_time"`
	InstallTime       Time                `json:"install_time"`
	LastUpdated       Time                `json:"last_updated"`
	OtherConfig       map[string]string   `json:"other_config"`
	HVM               bool                `json:"hvm"`
	NestedVirt        bool                `json:"nested_virt"`
	NoMigrate         bool                `json:"nomigrate"`
	CurrentDomainType string              `json:"current_domain_type"`
	NUMAOptimised     bool                `json:"numa_optimised"`
	NUMANodes         int64               `json:"numa_nodes"`
	NUMANodeMemory    map[string]int64    `json:"numa_node_memory"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (VMMetrics) class() string { return "VM_metrics" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (m *VMMetrics) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, m, &m.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (m VMMetrics) MarshalJSON() ([]byte, error) { return marshalRecord(&m, m.Extra) }
