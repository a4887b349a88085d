package xapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// failure is the error member of an answer: the code, then its parameters.
type failure []string

// maxFailure bounds the text of a failure, whose items take many times its size in memory. Real ones have kilobytes.
const maxFailure = 1 << 20

var errAnswerTooLarge = errors.New("answer larger than Options.MaxAnswer")

// boundedReader remembers why the stream ended, to tell a broken connection from broken JSON.
type boundedReader struct {
	src  io.Reader
	left int64
	err  error
}

// Read implements io.Reader.
func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.err = errAnswerTooLarge
		return 0, b.err
	}
	n, err := b.src.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if err != nil {
		b.err = err
	}
	return n, err
}

// decodeAnswer reads one JSON-RPC answer, version 1 or 2, to the end of the stream. The result goes straight into result, which
// may be nil, and must not be used unless both returned values are nil. The id is not compared: xapi answers 0 to what it could not
// dispatch, and there is one call per request.
func decodeAnswer(r io.Reader, result any) (failure, error) {
	dec := json.NewDecoder(newLiterals(r))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return nil, orElse(err, "not a JSON object")
	}
	var failed failure
	answered := false
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var ignored json.RawMessage
		switch name {
		case "result":
			answered = true
			switch into := result.(type) {
			case nil:
				err = dec.Decode(&ignored)
			case streamed:
				err = into.decode(dec)
			default:
				err = dec.Decode(into)
			}
		case "error":
			if err = dec.Decode(&ignored); err == nil {
				failed, err = decodeFailure(ignored)
			}
		default:
			err = dec.Decode(&ignored)
		}
		if err != nil {
			return nil, fmt.Errorf("%v: %w", name, err)
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, err
	}
	if token, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, orElse(err, fmt.Sprintf("%v after the answer", token))
	}
	if !answered && failed == nil {
		return nil, errors.New("neither result nor error")
	}
	return failed, nil
}

// decodeFailure takes both shapes: [CODE, params…] and {"message": CODE, "data": [params…]}; null is no failure.
func decodeFailure(raw json.RawMessage) (failure, error) {
	if string(raw) == "null" {
		return nil, nil
	}
	if len(raw) > maxFailure {
		return nil, fmt.Errorf("%d bytes", len(raw))
	}
	var list []any
	if json.Unmarshal(raw, &list) != nil {
		var object struct {
			Message string `json:"message"`
			Data    any    `json:"data"`
		}
		if err := json.Unmarshal(raw, &object); err != nil {
			return nil, err
		}
		list = []any{object.Message}
		if params, ok := object.Data.([]any); ok {
			list = append(list, params...)
		}
	}
	failed := make(failure, len(list))
	for i, item := range list {
		failed[i] = fmt.Sprint(item)
	}
	if len(failed) == 0 || failed[0] == "" {
		return nil, errors.New("failure without a code")
	}
	return failed, nil
}

func orElse(err error, text string) error {
	if err != nil {
		return err
	}
	return errors.New(text)
}
