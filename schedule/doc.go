// Package schedule tells when something is due: cron expressions with time zones,
// in the dialect of Xen Orchestra or in the common one; and runs it then.
//
// An expression has five fields, separated by blanks:
//
//	field         XO dialect                           Standard dialect
//	minute        0-59                                 the same
//	hour          0-23                                 the same
//	day of month  1-31                                 the same
//	month         0-11, or jan to dec: January is 0    1-12, or jan to dec
//	day of week   0-7, or sun to sat: Sunday is 0, 7   the same
//
// A field is "*" or a list of values and ranges, such as "1,10-20,40-59/5": "/5"
// takes every fifth of a range, and "*/5" every fifth of all. Wednesday is "wed",
// and in the XO dialect "wen" too, which is how Xen Orchestra writes it. A day is
// meant when it fits both the day of month and the day of week; when neither field
// is "*", one of the two is enough: "0 0 13 * fri" is each Friday and each 13th. The
// presets are @hourly, @daily, @weekly, @monthly, @yearly and @annually.
//
// # Daylight saving time
//
// An expression is about the clock on the wall of its zone. When that is turned,
// each time is kept exactly once:
//
//   - A time that does not exist, because the clock is turned forward over it, is
//     due once, at the first instant after the gap.
//   - A time that exists twice, because the clock is turned back, is due the first
//     time only.
//   - When the hour is "*" or "*/n", real time counts: an hour that exists twice is
//     two, and one that does not exist is none.
//
// Xen Orchestra fires twice in both cases; elsewhere the dates are the same, but for
// an error of its own: it may pass over the first two days of March when a day 30 or
// 31 is meant too.
//
// # Running what is due
//
// A [Scheduler] runs entries in the goroutine of its owner ([Scheduler.Run]):
//
//   - An entry that is due while its job runs is skipped, or waits its turn
//     ([Overlap]); entries may share a job. [Scheduler.RunNow] runs one by hand.
//   - What was due while the program or the machine did not run is missed, as in Xen
//     Orchestra, or made up for by one run ([Entry].CatchUp). For that a [Store]
//     remembers until when the times of each entry are dealt with: [FileStore] in a
//     file. It is saved before a run begins: after a crash, a run that it has cut
//     short does not begin again by itself.
//   - What starts up to two minutes late is not late. The clock is looked at every
//     half a minute, so that it may be set, and the machine sleep. A leap forward
//     brings one run per entry at most. What ran before the clock was set back does
//     not run again, unless it was by more than three hours: then the time before
//     counts as wrong, and the entry starts anew.
//   - A sequence runs other entries one after the other ([Entry].Sequence).
//
// Nothing is passed over in silence: skipped and missed times are events, as are the
// begin and the end of runs ([Options].Observer).
package schedule
