package xapi

import (
	"bytes"
	"encoding/json"
	"errors"
)

// EventOp says what happened to an object, or to the stream of events itself.
type EventOp string

const (
	// EventAdd says that an object was created.
	EventAdd EventOp = "add"
	// EventMod says that an object changed. It may be the first event of an object.
	EventMod EventOp = "mod"
	// EventDel says that an object is gone. There is no snapshot.
	EventDel EventOp = "del"
	// EventResync says that the stream starts anew. What follows up to EventSynced is everything that exists, each object as EventAdd;
	// what does not come again is gone, and no EventDel will say so.
	EventResync EventOp = "resync"
	// EventSynced says that all that existed at the last EventResync has come.
	EventSynced EventOp = "synced"
)

// An Event of [Client.Watch]. Only Op is set in EventResync and EventSynced.
type Event struct {
	Op       EventOp
	Class    string          // in lower case: vm, vdi, host
	Ref      string          // of the object
	Snapshot json.RawMessage // the whole record after the change; json.Unmarshal it into the type of the class
}

// eventAnswer is the result of event.from.
type eventAnswer struct {
	token  string
	counts map[string]json.Number // of all objects, by class in lower case
	// each gets the events in the order of the answer, before it is known whether the answer is complete. The snapshot's bytes are
	// overwritten afterwards.
	each func(Event) error
}

func (a *eventAnswer) UnmarshalJSON(data []byte) error {
	return a.decode(json.NewDecoder(bytes.NewReader(data)))
}

func (a *eventAnswer) decode(dec *json.Decoder) error {
	var ignored json.RawMessage
	return decodeMembers(dec, func(name string) error {
		switch name {
		case "token":
			return dec.Decode(&a.token)
		case "valid_ref_counts":
			return dec.Decode(&a.counts)
		case "events":
			return a.decodeEvents(dec)
		default:
			return dec.Decode(&ignored)
		}
	})
}

func (a *eventAnswer) decodeEvents(dec *json.Decoder) error {
	if err := expect(dec, '['); err != nil {
		return err
	}
	var text json.RawMessage
	for dec.More() {
		if err := dec.Decode(&text); err != nil {
			return err
		}
		event, err := parseEvent(text)
		if err != nil {
			return err
		}
		if err := a.each(event); err != nil {
			return err
		}
	}
	return expect(dec, ']')
}

// parseEvent returns an event whose snapshot is a part of text.
func parseEvent(text []byte) (event Event, err error) {
	ok := true
	for member, err := range objectMembers(text, nil) {
		if err != nil {
			return Event{}, err
		}
		switch member.name {
		case "class":
			event.Class, ok = plainText(member.value, nil)
		case "operation":
			var op string
			op, ok = plainText(member.value, nil)
			event.Op = EventOp(op)
		case "ref":
			event.Ref, ok = plainText(member.value, nil)
		case "snapshot":
			event.Snapshot = member.value
		}
		if !ok {
			return Event{}, errors.New("event: " + member.name + " is not a string")
		}
	}
	switch {
	case event.Class == "" || event.Ref == "":
		return Event{}, errors.New("event without class or reference")
	case event.Op == EventDel:
		event.Snapshot = nil
	case event.Op != EventAdd && event.Op != EventMod:
		return Event{}, errors.New("event: unknown operation")
	}
	return event, nil
}
