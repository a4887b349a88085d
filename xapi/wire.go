package xapi

import (
	"encoding/json"
	"io"
	"strings"
)

// A Protocol is how calls are written on the wire.
type Protocol string

// The protocols pools speak. Both give the same values; XML-RPC cannot say every text, see [ErrNotEncodable].
const (
	JSONRPC Protocol = "json-rpc" // POST /jsonrpc, since XenServer 7.2
	XMLRPC  Protocol = "xml-rpc"  // POST /RPC2, all versions
)

// wire is one of them.
type wire interface {
	protocol() Protocol
	path() string
	contentType() string
	// speaks reports whether an answer of that media type can be one of this protocol.
	speaks(mediaType string) bool
	encode(id int64, method string, params []any) ([]byte, error)
	// decode reads one answer to the end of the stream. The result goes into result, which may be nil and must not be used unless
	// both returned values are nil.
	decode(answer io.Reader, method string, result any) (failure, error)
}

func wireOf(p Protocol) wire {
	if p == XMLRPC {
		return xmlWire{}
	}
	return jsonWire{}
}

// jsonWire is JSON-RPC 2.0.
type jsonWire struct{}

type request struct {
	Version string `json:"jsonrpc"`
	Method  string `json:"method"`
	Params  []any  `json:"params"`
	ID      int64  `json:"id"`
}

func (jsonWire) protocol() Protocol           { return JSONRPC }
func (jsonWire) path() string                 { return "jsonrpc" }
func (jsonWire) contentType() string          { return "application/json" }
func (jsonWire) speaks(mediaType string) bool { return strings.Contains(mediaType, "json") }

func (jsonWire) encode(id int64, method string, params []any) ([]byte, error) {
	return json.Marshal(request{Version: "2.0", Method: method, Params: params, ID: id})
}

func (jsonWire) decode(answer io.Reader, _ string, result any) (failure, error) {
	return decodeAnswer(answer, result)
}
