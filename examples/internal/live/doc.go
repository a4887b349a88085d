// Package live knows how far the runs of backup jobs are: how many VMs are done, how
// many bytes are through, how fast, and how long it will take. It learns that as an
// observer of the runs, and is asked by whoever shows it: for the example programs.
package live
