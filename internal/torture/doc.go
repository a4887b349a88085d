// Package torture holds tests that treat the library as a bad night treats a server. A
// process that backs up, expires, merges and cleans is
//
//	killed at any moment                     TestKillOfAJob…, TestKillOfABackup…
//	killed at each change that it makes      TestKillAtAnyChangeOfABackup
//	killed again while it recovers           TestKillAtAnyChangeOfTheRecovery
//	killed at each step of a job             TestKillAtAnyStepOfAJob…: of the pool too
//	killed in merges, also Xen Orchestra's   TestKillAtAnyChangeOfAMerge
//	cut off from power, on ext4 and XFS      TestPowerCut… (as root)
//	stopped while another takes over         TestStoppedWriter…, TestTwoWriters…
//
// and on machines whose clocks are wrong (TestLocks…). After each time every restore point that
// was acknowledged must give the content it had, and after two cleans there must be nothing
// that no point needs.
//
// A smoke of it runs with all tests; "make torture" runs them at length. Each failure tells
// the seed that repeats it: XENBACKUP_SEED.
package torture
