package xapi

import "context"

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
// control domains.
func All[T any, P Record[T]](ctx context.Context, c Caller) (map[Ref[T]]*T, error) {
	records := make(map[Ref[T]]*T)
	if err := c.Call(ctx, classOf[T, P]()+".get_all_records", &records); err != nil {
		return nil, err
	}
	return records, nil
}

func classOf[T any, P Record[T]]() string { return P(new(T)).class() }
