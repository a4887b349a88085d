// Package xapi talks to a pool of XCP-ng or XenServer hosts: calls, records, tasks and disk transfers.
package xapi
