package restore

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/xenbackup/xenbackup/xva"
)

// intFields are the integers among the fields that are restored or written: in an
// archive they are strings of digits, as JSON they are numbers.
func intFields() []string {
	return []string{
		"user_version", "memory_static_max", "memory_static_min", "memory_dynamic_max", "memory_dynamic_min", "memory_target",
		"memory_overhead", "VCPUs_max", "VCPUs_at_startup", "start_delay", "shutdown_delay", "order", "version", "domid",
		"hardware_platform_version", "virtual_size", "physical_utilisation", "MTU",
	}
}

// dateFields are the dates among them.
func dateFields() []string { return []string{"snapshot_time"} }

// jsonRecord returns an object of an archive in JSON-RPC form.
func jsonRecord(object *xva.Object, extra map[string]any) (json.RawMessage, error) {
	out := maps.Clone(object.Snapshot)
	for name, value := range out {
		if text, ok := value.(string); ok && slices.Contains(intFields(), name) {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %s: %w", object.Class, object.ID, name, err)
			}
			out[name] = n
		}
	}
	maps.Copy(out, extra)
	text, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", object.Class, object.ID, err)
	}
	return text, nil
}
