package xapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
)

// Caller makes one call to a pool; *[Client] is one. Its Call adds the session as first parameter.
type Caller interface {
	Call(ctx context.Context, method string, result any, args ...any) error
}

// Get reads one record. An object that is gone is ErrHandleInvalid.
func Get[T any, P Record[T]](ctx context.Context, c Caller, ref Ref[T]) (*T, error) {
	record := new(T)
	if err := c.Call(ctx, classOf[T, P]()+".get_record", record, ref); err != nil {
		return nil, err
	}
	return record, nil
}

// ByUUID finds the reference that belongs to a UUID, as in ByUUID[VM](ctx, client, uuid). No such object is ErrUUIDInvalid.
func ByUUID[T any, P Record[T]](ctx context.Context, c Caller, uuid string) (Ref[T], error) {
	var ref Ref[T]
	err := c.Call(ctx, classOf[T, P]()+".get_by_uuid", &ref, uuid)
	return ref, err
}

// All reads every record of a class, as in All[SR](ctx, client), in one answer. For VMs that includes snapshots, templates and the
// control domains. Records are decoded as they arrive: the text of the answer is never held as a whole.
func All[T any, P Record[T]](ctx context.Context, c Caller) (map[Ref[T]]*T, error) {
	all := new(recordSet[T, P])
	if err := c.Call(ctx, classOf[T, P]()+".get_all_records", all); err != nil {
		return nil, err
	}
	return all.records, nil
}

func classOf[T any, P Record[T]]() string { return P(new(T)).class() }

// streamed is a result that is decoded while it arrives. decode starts where the result does and consumes it. Transports that hold
// whole answers use its UnmarshalJSON.
type streamed interface {
	json.Unmarshaler
	decode(dec *json.Decoder) error
}

// recordSet is the result of get_all_records.
type recordSet[T any, P Record[T]] struct{ records map[Ref[T]]*T }

func (s *recordSet[T, P]) UnmarshalJSON(data []byte) error {
	return s.decode(json.NewDecoder(bytes.NewReader(data)))
}

func (s *recordSet[T, P]) decode(dec *json.Decoder) error {
	s.records = make(map[Ref[T]]*T)
	return decodeMembers(dec, func(ref string) error {
		record := new(T)
		if err := dec.Decode(record); err != nil {
			return err
		}
		s.records[Ref[T](ref)] = record
		return nil
	})
}

// decodeMembers goes through an object; each decodes the value of the member it is given the name of. Null, which stands beside the
// error in answers of version 1, has no members.
func decodeMembers(dec *json.Decoder, each func(name string) error) error {
	token, err := dec.Token()
	if err != nil || token == nil {
		return err
	}
	if token != json.Delim('{') {
		return fmt.Errorf("%.20v instead of an object", token)
	}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		if err := each(name); err != nil {
			return fmt.Errorf("%.80q: %w", name, err)
		}
	}
	return expect(dec, '}')
}

func expect(dec *json.Decoder, delim json.Delim) error {
	token, err := dec.Token()
	if err == nil && token != delim {
		err = fmt.Errorf("%.20v instead of %v", token, delim)
	}
	return err
}
