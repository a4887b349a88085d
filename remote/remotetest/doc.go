// Package remotetest tests back ends, and what is built on them.
//
// [Test] is the suite that an implementation of [remote.Filesystem] must pass on
// one open Filesystem; [TestHarness] adds what takes several of them, or a storage
// that breaks, fills up or refuses changes. Three more things wrap or stand in for
// a Filesystem:
//
//   - [Faulty] makes chosen operations fail, so that a test can let the first,
//     the second, every operation of a procedure fail in turn;
//   - [Trace] writes down what changes the storage, one line each, in a form that
//     a reviewer reads as the order of a crash-safe procedure;
//   - [Crash] is a Filesystem in memory that can lose its power: what was synced
//     survives, what was not may be lost or torn.
//
// Together they answer the two questions to every procedure of several steps:
//
//	for n := 1; ; n++ {
//		crash := remotetest.NewCrash()
//		faulty := remotetest.NewFaulty(crash)
//		faulty.FailFrom(n, syscall.EIO) // the process dies before its nth operation
//		err := procedure(ctx, faulty)
//		after := crash.PowerCut(rng)    // and the machine with it
//		// check and recover what is in after
//		if faulty.Fired() == 0 {
//			break // it took fewer than n operations
//		}
//	}
//
// All of it works without package testing, so that programs may use it too.
package remotetest
