//go:build !unix

package task

// syncDir does nothing: directories cannot be synced here.
func syncDir(string) error { return nil }
