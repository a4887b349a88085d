package command

import (
	"os"
	"os/signal"
	"syscall"
)

// Interrupts are the signals that ask a program to undo what it has begun and to end: a
// terminal that is gone is one too, unless somebody (nohup) wants it to be ignored.
func Interrupts() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}
