// Package xapitest simulates a pool of XCP-ng hosts inside a test or a program.
package xapitest
