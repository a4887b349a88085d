// Package schedule tells when something is due: cron expressions with time zones,
// in the dialect of Xen Orchestra or in the common one.
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
// an error of its own around the first of March (its "*/n" for days may skip it).
package schedule
