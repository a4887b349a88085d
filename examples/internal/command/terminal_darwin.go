package command

import (
	"os"

	"golang.org/x/sys/unix"
)

// IsTerminal tells whether a file is one.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TIOCGETA)
	return err == nil
}
