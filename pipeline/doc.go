// Package pipeline runs backup jobs.
