// Package restore makes VMs of backups.
package restore
