// Package config reads the YAML file that says what xenbackupd does: pools,
// repositories, jobs and schedules.
//
// [Load] reads and judges it in one go: each [Problem] names the line, what is
// meant there, and what is wrong or doubtful with it. Keys that do not exist are
// refused, so that one that is misspelt does not go unnoticed. Passwords and keys
// are never in the file: a [Secret] names an environment variable or another
// file, and is read when it is needed.
//
// Names of things are the keys of the file. They are also their ids in
// repositories and on pools, unless they have an id of their own: renaming a job
// begins new chains.
package config
