package xapi

import (
	"slices"
	"strconv"
	"strings"
)

// integerFields lists the fields of a class, named in lower case, that hold integers, or sets or maps of them, in the data model of
// API version 2.23. Over XML-RPC an integer looks like a string; an integer field that is newer than this list stays one there.
func integerFields(class string) []string {
	switch class {
	case "blob":
		return []string{"size"}
	case "bond":
		return []string{"links_up"}
	case "host":
		return []string{
			"memory_overhead", "API_version_major", "API_version_minor", "virtual_hardware_platform_versions",
			"ssh_enabled_timeout", "console_idle_timeout",
		}
	case "host_metrics":
		return []string{"memory_total", "memory_free"}
	case "message":
		return []string{"priority"}
	case "network":
		return []string{"MTU"}
	case "pif":
		return []string{"MTU", "VLAN"}
	case "pool":
		return []string{
			"ha_host_failures_to_tolerate", "ha_plan_exists_for", "local_auth_max_threads", "ext_auth_max_threads",
			"ext_auth_cache_size", "ext_auth_cache_expiry", "update_sync_day", "vm_console_idle_timeout",
		}
	case "sm":
		return []string{"features"}
	case "sr":
		return []string{"virtual_allocation", "physical_utilisation", "physical_size"}
	case "vbd":
		return []string{"status_code"}
	case "vdi":
		return []string{"virtual_size", "physical_utilisation"}
	case "vgpu_type":
		return []string{"framebuffer_size", "max_heads", "max_resolution_x", "max_resolution_y"}
	case "vif":
		return []string{"MTU", "status_code", "trunks"}
	case "vlan":
		return []string{"tag"}
	case "vm":
		return []string{
			"user_version", "memory_overhead", "memory_target", "memory_static_max", "memory_dynamic_max",
			"memory_dynamic_min", "memory_static_min", "VCPUs_max", "VCPUs_at_startup", "domid", "start_delay",
			"shutdown_delay", "order", "version", "hardware_platform_version",
		}
	case "vm_metrics":
		return []string{"memory_actual", "VCPUs_number", "VCPUs_CPU", "numa_nodes", "numa_node_memory"}
	case "vmss":
		return []string{"retained_snapshots"}
	default:
		return nil
	}
}

// integerCall reports whether a call that is no getter returns an integer.
func integerCall(method string) bool {
	switch method {
	case "event.get_current_id", "pool.ha_compute_max_host_failures_to_tolerate",
		"pool.ha_compute_hypothetical_max_host_failures_to_tolerate", "VM.compute_memory_overhead", "VM.maximise_memory",
		"host.compute_free_memory", "host.compute_memory_overhead", "GPU_group.get_remaining_capacity":
		return true
	default:
		return false
	}
}

// withIntegers replaces, in the decoded result of a call, the decimal text of integers by the integers.
func withIntegers(method string, v any) any {
	class, name, _ := strings.Cut(method, ".")
	fields := integerFields(strings.ToLower(class))
	switch {
	case integerCall(method):
		return integer(v)
	case name == "get_record", name == "get_boot_record":
		return integersOf(fields, v)
	case name == "get_all_records", name == "get_all_records_where":
		members, _ := v.(map[string]any)
		for _, record := range members {
			integersOf(fields, record)
		}
	case method == "event.from":
		if batch, ok := v.(map[string]any); ok {
			eventIntegers(batch["events"])
		}
	case method == "event.next":
		eventIntegers(v)
	case method == "message.get", method == "message.get_since":
		return withIntegers("message.get_all_records", v)
	case method == "VDI.get_nbd_info":
		infos, _ := v.([]any)
		for _, info := range infos {
			integersOf([]string{"port"}, info)
		}
	case strings.HasPrefix(name, "get_") && slices.Contains(fields, strings.TrimPrefix(name, "get_")):
		return integer(v)
	}
	return v
}

func eventIntegers(v any) {
	events, _ := v.([]any)
	for _, event := range events {
		if members, ok := event.(map[string]any); ok {
			class, _ := members["class"].(string)
			integersOf(integerFields(strings.ToLower(class)), members["snapshot"])
		}
	}
}

// integersOf changes record in place.
func integersOf(fields []string, record any) any {
	members, _ := record.(map[string]any)
	for _, name := range fields {
		if v, ok := members[name]; ok {
			members[name] = integer(v)
		}
	}
	return record
}

// integer leaves alone what is none.
func integer(v any) any {
	switch v := v.(type) {
	case string:
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			return n
		}
	case []any:
		for i := range v {
			v[i] = integer(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = integer(v[name])
		}
	}
	return v
}
