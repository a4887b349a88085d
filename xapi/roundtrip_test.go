package xapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"
)

// roundTripper answers calls without a network, for tests with fake time.
type roundTripper func(r *http.Request) (string, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	text, err := f(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(text)), Request: r,
	}, nil
}

// stubborn is a pool whose tasks never end.
func stubborn(r *http.Request) (string, error) {
	var call struct{ Method string }
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		return "", err
	}
	switch call.Method {
	case "event.from":
		select {
		case <-r.Context().Done():
			return "", r.Context().Err()
		case <-time.After(30 * time.Second):
			return `{"jsonrpc":"2.0","result":{"events":[],"token":"1"},"id":1}`, nil
		}
	case "task.get_record":
		return `{"jsonrpc":"2.0","result":{"status":"pending"},"id":1}`, nil
	default:
		return `{"jsonrpc":"2.0","result":"OpaqueRef:x","id":1}`, nil
	}
}
