package xapi

import (
	"bytes"
	"context"
	"iter"
)

// Watch yields what happens to the objects of some classes: "vm", "vdi" and so on in any case, a single object as "vm/OpaqueRef:…",
// or everything when no class is named. Classes may be those without a record type here.
//
// The stream starts with an EventResync, then what exists, then an EventSynced; the same happens whenever something may have been
// missed: the pool has lost events or refuses the position, the session was lost, the pool has restarted with an older database. In
// between come changes, each with the whole record, so that applying one twice does no harm. Changes that follow each other
// quickly come as one, and what was created and destroyed within that time does not appear. The order of events that come
// together has no meaning.
//
// While the pool cannot be reached, Watch tries again, with growing pauses of up to half a minute, and goes on where it was. It ends
// with an error, the last pair, when ctx ends, when the pool refuses the login or the classes, or when the client is closed.
//
// The loop body may take its time: the pool is asked again when it is done with what came. One answer is held in memory as text;
// the first one, and each after an EventResync, has all objects of the classes. [Client.Inventory] holds a cache instead.
func (c *Client) Watch(ctx context.Context, classes ...string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		p := newPoller(c, classes)
		batch := new(eventBatch)
		for {
			answer, err := p.next(ctx, batch)
			if err != nil {
				yield(Event{}, err)
				return
			}
			if !batch.yield(answer.fresh, yield) {
				return
			}
		}
	}
}

// eventBatch holds the events of one answer.
type eventBatch struct{ events []Event }

func (b *eventBatch) begin(bool) { b.events = nil }

func (b *eventBatch) event(e Event) error {
	e.Snapshot = bytes.Clone(e.Snapshot)
	b.events = append(b.events, e)
	return nil
}

func (b *eventBatch) trouble(error) {}

func (b *eventBatch) yield(fresh bool, yield func(Event, error) bool) bool {
	if fresh && !yield(Event{Op: EventResync}, nil) {
		return false
	}
	for i, event := range b.events {
		b.events[i] = Event{} // the consumer decides how long it lives
		if !yield(event, nil) {
			return false
		}
	}
	return !fresh || yield(Event{Op: EventSynced}, nil)
}
