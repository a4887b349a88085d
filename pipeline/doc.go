// Package pipeline runs backup jobs.
package pipeline
