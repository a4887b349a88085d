package xapi

import "encoding/json"

// VM is a virtual machine, a snapshot of one (IsASnapshot) or a template (IsATemplate, true for snapshots as well).
// Memory sizes are in bytes, delays in seconds. It carries every field that VM.create takes.
type VM struct {
	UUID                    string              `json:"uuid"`
	AllowedOperations       []string            `json:"allowed_operations"`
	CurrentOperations       map[string]string   `json:"current_operations"`
	NameLabel               string              `json:"name_label"`
	NameDescription         string              `json:"name_description"`
	PowerState              string              `json:"power_state"`
	UserVersion             int64               `json:"user_version"`
	IsATemplate             bool                `json:"is_a_template"`
	IsDefaultTemplate       bool                `json:"is_default_template"`
	SuspendVDI              Ref[VDI]            `json:"suspend_VDI"`
	ResidentOn              Ref[Host]           `json:"resident_on"`
	Affinity                Ref[Host]           `json:"affinity"`
	MemoryTarget            int64               `json:"memory_target"`
	MemoryStaticMax         int64               `json:"memory_static_max"`
	MemoryDynamicMax        int64               `json:"memory_dynamic_max"`
	MemoryDynamicMin        int64               `json:"memory_dynamic_min"`
	MemoryStaticMin         int64               `json:"memory_static_min"`
	VCPUsParams             map[string]string   `json:"VCPUs_params"`
	VCPUsMax                int64               `json:"VCPUs_max"`
	VCPUsAtStartup          int64               `json:"VCPUs_at_startup"`
	ActionsAfterSoftreboot  string              `json:"actions_after_softreboot"`
	ActionsAfterShutdown    string              `json:"actions_after_shutdown"`
	ActionsAfterReboot      string              `json:"actions_after_reboot"`
	ActionsAfterCrash       string              `json:"actions_after_crash"`
	VIFs                    []Ref[VIF]          `json:"VIFs"`
	VBDs                    []Ref[VBD]          `json:"VBDs"`
	VUSBs                   []Ref[VUSB]         `json:"VUSBs"`
	VTPMs                   []Ref[VTPM]         `json:"VTPMs"`
	PVBootloader            string              `json:"PV_bootloader"`
	PVKernel                string              `json:"PV_kernel"`
	PVRamdisk               string              `json:"PV_ramdisk"`
	PVArgs                  string              `json:"PV_args"`
	PVBootloaderArgs        string              `json:"PV_bootloader_args"`
	PVLegacyArgs            string              `json:"PV_legacy_args"`
	HVMBootPolicy           string              `json:"HVM_boot_policy"`
	HVMBootParams           map[string]string   `json:"HVM_boot_params"`
	HVMShadowMultiplier     float64             `json:"HVM_shadow_multiplier"`
	Platform                map[string]string   `json:"platform"`
	PCIBus                  string              `json:"PCI_bus"`
	OtherConfig             map[string]string   `json:"other_config"`
	DomID                   int64               `json:"domid"`
	Domarch                 string              `json:"domarch"`
	LastBootCPUFlags        map[string]string   `json:"last_boot_CPU_flags"`
	IsControlDomain         bool                `json:"is_control_domain"`
	Metrics                 Ref[VMMetrics]      `json:"metrics"`
	GuestMetrics            Ref[VMGuestMetrics] `json:"guest_metrics"`
	LastBootedRecord        string              `json:"last_booted_record"`
	Recommendations         string              `json:"recommendations"`
	XenstoreData            map[string]string   `json:"xenstore_data"`
	HAAlwaysRun             bool                `json:"ha_always_run"`
	HARestartPriority       string              `json:"ha_restart_priority"`
	IsASnapshot             bool                `json:"is_a_snapshot"`
	SnapshotOf              Ref[VM]             `json:"snapshot_of"`
	Snapshots               []Ref[VM]           `json:"snapshots"`
	SnapshotTime            Time                `json:"snapshot_time"`
	TransportableSnapshotID string              `json:"transportable_snapshot_id"`
	Tags                    []string            `json:"tags"`
	BlockedOperations       map[string]string   `json:"blocked_operations"`
	SnapshotInfo            map[string]string   `json:"snapshot_info"`
	SnapshotMetadata        string              `json:"snapshot_metadata"`
	Parent                  Ref[VM]             `json:"parent"`
	Children                []Ref[VM]           `json:"children"`
	BIOSStrings             map[string]string   `json:"bios_strings"`
	SnapshotSchedule        Ref[Object]         `json:"snapshot_schedule"`
	IsVMSSSnapshot          bool                `json:"is_vmss_snapshot"`
	Appliance               Ref[Object]         `json:"appliance"`
	StartDelay              int64               `json:"start_delay"`
	ShutdownDelay           int64               `json:"shutdown_delay"`
	Order                   int64               `json:"order"`
	VGPUs                   []Ref[VGPU]         `json:"VGPUs"`
	SuspendSR               Ref[SR]             `json:"suspend_SR"`
	Version                 int64               `json:"version"`
	GenerationID            string              `json:"generation_id"`
	HardwarePlatformVersion int64               `json:"hardware_platform_version"`
	HasVendorDevice         bool                `json:"has_vendor_device"`
	ReferenceLabel          string              `json:"reference_label"`
	DomainType              string              `json:"domain_type"`
	NVRAM                   map[string]string   `json:"NVRAM"`

	// Extra holds the fields that are not named above, and what says that a named one was absent; see the package documentation.
	Extra map[string]json.RawMessage `json:"-"`
}

func (VM) class() string { return "VM" }

// UnmarshalJSON reads the record as JSON-RPC sends it and keeps unknown fields in Extra.
func (vm *VM) UnmarshalJSON(data []byte) error { return unmarshalRecord(data, vm, &vm.Extra) }

// MarshalJSON writes the record as JSON-RPC takes it, Extra included.
func (vm VM) MarshalJSON() ([]byte, error) { return marshalRecord(&vm, vm.Extra) }
