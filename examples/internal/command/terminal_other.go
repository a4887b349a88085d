//go:build !linux && !darwin

package command

import "os"

// IsTerminal tells whether a file is one.
func IsTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
