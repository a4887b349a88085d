// Package secrets reads passwords and keys from files and from the environment, never
// from the command line, which everybody on the machine can read: for the example
// programs.
package secrets

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// longest is how long a secret may be, so that a disk named by mistake is not read.
const longest = 4 << 10

// Find returns the secret in file, if that is not ""; else that of the environment
// variable name; else that of the file which the variable name_FILE names; else "". The
// line break at the end of a file does not belong to it. Errors name where the secret
// should have been, and never what was there.
func Find(file, name string) (string, error) {
	if file != "" {
		return read(file)
	}
	if value, ok := os.LookupEnv(name); ok && value != "" {
		return value, nil
	}
	if file = os.Getenv(name + "_FILE"); file != "" {
		secret, err := read(file)
		if err != nil {
			err = fmt.Errorf("%s_FILE: %w", name, err)
		}
		return secret, err
	}
	return "", nil
}

func read(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, longest+1))
	if err != nil {
		return "", err
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case len(text) > longest:
		return "", fmt.Errorf("%s is too long for a secret", file)
	case strings.ContainsAny(secret, "\r\n\x00"):
		return "", fmt.Errorf("%s has more than one line", file)
	case secret == "":
		return "", errors.New(file + " is empty")
	}
	return secret, nil
}
