package config

import (
	"fmt"
	"strconv"
	"strings"
)

// parseBytes reads a number of bytes such as 256MiB, which is not less than some; "" and
// "0" are 0.
func parseBytes(text string, least int64) (int64, error) {
	if text == "" || text == "0" {
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
	if n <<= shift; n < least {
		return 0, fmt.Errorf("%q: at least %dMiB are needed", text, least>>20)
	}
	return n, nil
}
