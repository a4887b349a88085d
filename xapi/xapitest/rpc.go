package xapitest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
)

// errUnparsable is a request that is no call: the host answers 500 in HTML.
var errUnparsable = errors.New("xapitest: not a call")

// request is a call in JSON-RPC 2.0, or in 1.0 when there is no version.
type request struct {
	Version *string `json:"jsonrpc"`
	Method  *string `json:"method"`
	Params  []any   `json:"params"`
	ID      any     `json:"id"`
}

// incoming is one call on its way: the host that it came to, and the fault that
// breaks its answer.
type incoming struct {
	host  string
	fault *fault
}

// serveJSON runs one JSON-RPC request and returns the body of the answer.
func (p *Pool) serveJSON(ctx context.Context, in *incoming, body []byte) ([]byte, error) {
	req, err := parseRequest(body)
	if err != nil {
		return nil, err
	}
	value, err := p.dispatch(ctx, in, *req.Method, req.Params)
	if _, ok := errors.AsType[*failure](err); err != nil && !ok {
		return nil, err
	}
	if err == nil && value == nil {
		value = ""
	}
	return marshalJSON(req.answer(value, err))
}

func parseRequest(body []byte) (*request, error) {
	req := new(request)
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(req); err != nil {
		return nil, errUnparsable
	}
	if req.Method == nil || req.Params == nil {
		return nil, errUnparsable
	}
	if req.Version == nil {
		return req, nil
	}
	switch req.ID.(type) {
	case string, json.Number:
	default:
		return nil, errUnparsable
	}
	if *req.Version != "2.0" {
		return nil, errUnparsable
	}
	return req, nil
}

// answer builds the envelope. The two versions report failures differently.
func (r *request) answer(value any, err error) any {
	f, failed := errors.AsType[*failure](err)
	switch {
	case r.Version == nil && failed:
		return map[string]any{"result": nil, "error": append([]string{f.code}, f.params...), "id": r.ID}
	case r.Version == nil:
		return map[string]any{"result": value, "error": nil, "id": r.ID}
	case failed:
		data := append([]string{}, f.params...)
		return map[string]any{"jsonrpc": "2.0", "id": r.ID, "error": map[string]any{"code": 1, "message": f.code, "data": data}}
	default:
		return map[string]any{"jsonrpc": "2.0", "result": value, "id": r.ID}
	}
}
