package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"go.yaml.in/yaml/v4"
)

// Secret says where a password or a key is: in an environment variable or in a
// file, whose last line break does not count. A relative path is meant from the
// folder of the configuration, and a file in $CREDENTIALS_DIRECTORY, which systemd
// sets, is named by credential.
type Secret struct {
	Env        string `yaml:"env"`
	File       string `yaml:"file"`
	Credential string `yaml:"credential"`
}

// errNotHere does not repeat what stands there: it may be the secret.
var errNotHere = errors.New("a secret is not written into this file: use {env: NAME}, {file: PATH} or {credential: NAME}")

// UnmarshalYAML refuses text, which would be the secret itself.
func (s *Secret) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return errNotHere
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1].Value
		switch key {
		case "env":
			s.Env = value
		case "file":
			s.File = value
		case "credential":
			s.Credential = value
		default:
			return errNotHere
		}
	}
	return nil
}

// read returns the secret.
func (s *Secret) read() (string, error) {
	if s.Env != "" {
		value, ok := os.LookupEnv(s.Env)
		if !ok || value == "" {
			return "", fmt.Errorf("the environment variable %s is not set", s.Env)
		}
		return value, nil
	}
	text, err := os.ReadFile(s.path())
	if err != nil {
		return "", err
	}
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	if len(text) == 0 {
		return "", fmt.Errorf("%s is empty", s.path())
	}
	return string(text), nil
}

func (s *Secret) path() string {
	if s.Credential != "" {
		return filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), s.Credential)
	}
	return s.File
}

// check reads the secret once, to say now rather than at night that it is not there.
func (j *judge) secret(s *Secret, where ...string) {
	if s == nil {
		return
	}
	named := 0
	for _, name := range []string{s.Env, s.File, s.Credential} {
		if name != "" {
			named++
		}
	}
	if named != 1 {
		j.wrong("one of env, file and credential is needed", where...)
		return
	}
	if s.Credential != "" && os.Getenv("CREDENTIALS_DIRECTORY") == "" {
		j.warn("cannot be looked at: only systemd sets CREDENTIALS_DIRECTORY, by LoadCredential=", where...)
		return
	}
	if _, err := s.read(); err != nil {
		j.wrong(err.Error(), where...)
		return
	}
	if s.File != "" && runtime.GOOS != "windows" {
		if info, err := os.Stat(s.File); err == nil && info.Mode().Perm()&(fs.ModePerm&0o077) != 0 {
			j.warn(s.File+" can be read by others than its owner: chmod 600", where...)
		}
	}
}
