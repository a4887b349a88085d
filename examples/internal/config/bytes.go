package config

import (
	"fmt"
	"strconv"
	"strings"
)

const leastMemory = 32 << 20

// parseBytes reads a number of bytes such as 256MiB; "" is 0.
func parseBytes(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	number, shift := text, 0
	for suffix, bits := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			number, shift = strings.TrimSpace(rest), bits
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > 1<<40>>shift {
		return 0, fmt.Errorf("%q is not a number of bytes such as 256MiB", text)
	}
	if n <<= shift; n < leastMemory {
		return 0, fmt.Errorf("%q: at least 32MiB are needed", text)
	}
	return n, nil
}
