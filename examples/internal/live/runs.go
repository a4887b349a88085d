package live

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/pipeline/task"
)

// Runs are the runs that are under way. It is a [task.Observer]; the zero value is
// ready, and its methods may be called concurrently.
type Runs struct {
	mu     sync.Mutex
	active map[string]*run
}

// Run is how far a run is, at one moment.
type Run struct {
	ID       string    `json:"id"`
	Job      string    `json:"job"`
	Schedule string    `json:"schedule,omitempty"`
	Started  time.Time `json:"started"`
	VMs      []VM      `json:"vms,omitempty"` // that have begun, in this order
	Selected int       `json:"selected"`      // VMs in all; 0 until they are selected

	// Done of Total bytes are written, over all targets. Total grows while VMs begin.
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
	// Rate is that of the last seconds, in bytes per second, and Left how many seconds
	// the rest of Total takes at this rate; 0 when that is not known.
	Rate float64 `json:"rate"`
	Left float64 `json:"seconds_left"`
}

// VM is how far the backup of one is.
type VM struct {
	ID     string      `json:"id"`
	Name   string      `json:"name"`
	Status task.Status `json:"status"`
	Step   string      `json:"step,omitempty"` // the task that has begun last
}

// run is what is known of a run.
type run struct {
	id       string
	job      task.Job
	started  time.Time
	selected int
	vms      []*VM
	vmOf     map[string]*VM     // by the ids of tasks below it
	moves    map[string]*moving // by the id of the task that moves bytes
	speed    speed
}

type moving struct{ done, total int64 }

// Observe implements [task.Observer].
func (r *Runs) Observe(e task.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Parent == "" && e.Kind == task.EventStart {
		if r.active == nil {
			r.active = map[string]*run{}
		}
		r.active[e.Run] = &run{id: e.Run, job: e.Job, started: e.Time, vmOf: map[string]*VM{}, moves: map[string]*moving{}}
		return
	}
	one := r.active[e.Run]
	switch {
	case one == nil:
	case e.Parent == "" && e.Kind == task.EventEnd:
		delete(r.active, e.Run)
	default:
		one.observe(e)
	}
}

func (o *run) observe(e task.Event) {
	switch e.Kind {
	case task.EventStart:
		o.begin(e)
	case task.EventEnd:
		if vm := o.vmOf[e.ID]; vm != nil && e.Name == "backup VM" {
			vm.Status, vm.Step = e.Status, ""
		}
	case task.EventInfo:
		if ids, ok := e.Data["vms"].([]string); ok && e.Message == "vms" {
			o.selected = len(ids)
		}
	case task.EventProgress:
		if e.Name == "transfer" {
			o.move(e)
		}
	case task.EventWait:
		if vm := o.vmOf[e.ID]; vm != nil {
			vm.Step = e.Name
			if e.Waited == 0 {
				vm.Step = "waiting for a slot: " + e.Limit
			}
		}
	case task.EventWarning:
	}
}

func (o *run) begin(e task.Event) {
	if e.Name == "backup VM" {
		id, _ := e.Data["id"].(string)
		name, _ := e.Data["name_label"].(string)
		vm := &VM{ID: id, Name: cmp.Or(name, id), Status: task.Pending}
		o.vms = append(o.vms, vm)
		o.vmOf[e.ID] = vm
		return
	}
	if vm := o.vmOf[e.Parent]; vm != nil {
		o.vmOf[e.ID] = vm
		vm.Step = e.Name
	}
}

func (o *run) move(e task.Event) {
	m := o.moves[e.ID]
	if m == nil {
		m = &moving{}
		o.moves[e.ID] = m
	}
	m.done, m.total = e.Done, e.Total
	o.speed.note(e.Time, o.bytes().done)
}

func (o *run) bytes() moving {
	var all moving
	for _, m := range o.moves {
		all.done += m.done
		all.total += max(m.total, m.done)
	}
	return all
}

// Active returns the runs that are under way, the oldest first.
func (r *Runs) Active() []Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Run
	for _, o := range slices.SortedFunc(maps.Values(r.active), func(a, b *run) int {
		return cmp.Or(a.started.Compare(b.started), cmp.Compare(a.id, b.id))
	}) {
		b := o.bytes()
		one := Run{
			ID: o.id, Job: o.job.Name, Schedule: o.job.ScheduleID, Started: o.started, Selected: o.selected,
			Done: b.done, Total: b.total, Rate: o.speed.rate(),
		}
		if one.Rate > 0 {
			one.Left = float64(b.total-b.done) / one.Rate
		}
		for _, vm := range o.vms {
			one.VMs = append(one.VMs, *vm)
		}
		all = append(all, one)
	}
	return all
}
