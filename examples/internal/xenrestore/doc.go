// Package xenrestore holds the commands of the program xenrestore, one in each file. They
// read flags, call the library, and print: for people, or with -json for scripts. The
// fields of that JSON keep their names and meanings; new ones may come.
package xenrestore
