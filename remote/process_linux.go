package remote

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

func currentProcess() (process, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return process{}, err
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return process{}, err
	}
	pid := os.Getpid()
	start, err := processStart(pid)
	if err != nil {
		return process{}, err
	}
	return process{Boot: strings.TrimSpace(string(boot)), Namespace: namespace, PID: pid, Start: start}, nil
}

// dead reports whether p is proven to have ended. A process of another boot,
// machine or container proves nothing, nor does one that is not visible.
func (p process) dead() bool {
	self, err := currentProcess()
	if err != nil || p.PID <= 0 || p.Start == "" || p.Boot != self.Boot || p.Namespace != self.Namespace {
		return false
	}
	if err := syscall.Kill(p.PID, 0); errors.Is(err, syscall.ESRCH) {
		return true
	}
	start, err := processStart(p.PID)
	return err == nil && start != p.Start
}

// processStart is field 22 of /proc/<pid>/stat: clock ticks since the boot. The
// second field is the program's name in parentheses, which may contain anything.
func processStart(pid int) (string, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", err
	}
	end := bytes.LastIndexByte(stat, ')')
	fields := strings.Fields(string(stat[end+1:]))
	if end < 0 || len(fields) < 20 {
		return "", fmt.Errorf("remote: unexpected content of /proc/%d/stat", pid)
	}
	return fields[19], nil
}
