// Package torture holds tests that treat the library as a bad night treats a
// server: a process that backs up, expires and merges is killed with SIGKILL at
// random moments, over and over, and after each time every restore point that was
// committed must still give the content it had.
//
// A smoke of it runs with all tests; "make torture" runs a thousand rounds.
package torture
