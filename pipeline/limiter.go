package pipeline

import (
	"context"
	"errors"
)

// Op is a kind of work that a [Limiter] bounds.
type Op string

// The limited kinds of work. Snapshot, disk export and VM export are limited per
// pool and shared by all jobs; OpVM is the concurrency of one job. The removal
// of snapshots is never limited: it gives back what the others wait for.
const (
	OpSnapshot   Op = "snapshot"
	OpDiskExport Op = "disk export"
	OpVMExport   Op = "VM export"
	OpVM         Op = "VM"
)

// Key names a resource of which a [Limiter] has a number of slots.
type Key struct {
	Pool string // as in [RunnerOptions].Pools; empty for OpVM
	Op   Op
}

// Limiter hands out slots.
//
// Acquire waits for a slot of key until ctx ends, whose cause it then returns.
// Work goes on under the slot context, a child of ctx: it ends with cause
// [ErrLeaseLost] when the slot is lost, which may happen to slots that several
// processes share. release gives the slot back and ends the slot context; it is
// idempotent, and must be called also when the slot context has ended. On error
// both are nil.
//
// Implementations are safe for concurrent use.
type Limiter interface {
	Acquire(ctx context.Context, key Key) (slot context.Context, release func(), err error)
}

// ErrLeaseLost is the cause with which a slot context ends when the slot is not
// ours any more: what runs under it must stop.
var ErrLeaseLost = errors.New("pipeline: slot lost")

// errReleased is the cause of a slot context whose slot was given back.
var errReleased = errors.New("pipeline: slot released")

// Limits is a number of slots for each kind of work: 0 or less is unlimited.
type Limits struct {
	Snapshot   int
	DiskExport int
	VMExport   int
	VM         int
}

// DefaultLimits returns what a pool bears without its users noticing: 2
// snapshots, 12 disk exports and 2 VM exports at a time. VMs are unlimited,
// since each job says how many it wants.
func DefaultLimits() Limits { return Limits{Snapshot: 2, DiskExport: 12, VMExport: 2} }

func (l Limits) of(op Op) int {
	switch op {
	case OpSnapshot:
		return l.Snapshot
	case OpDiskExport:
		return l.DiskExport
	case OpVMExport:
		return l.VMExport
	case OpVM:
		return l.VM
	}
	return 0
}
