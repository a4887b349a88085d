package xapitest

import "github.com/xenbackup/xenbackup/internal/xmlvalue"

// xmlText returns a result as a task shows it: an XML-RPC value in text, and
// nothing for void.
func xmlText(value any) (string, error) {
	if value == nil {
		return "", nil
	}
	if rec, ok := value.(record); ok {
		value = map[string]any(rec)
	}
	b, err := xmlvalue.Append(nil, value)
	return string(b), err
}
