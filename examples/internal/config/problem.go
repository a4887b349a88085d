package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Problem is something wrong with a configuration, or doubtful.
type Problem struct {
	File    string
	Line    int    // 0 when it is about no line
	Where   string // the keys, such as "jobs.nightly.vms"
	Text    string
	Warning bool // it works all the same
}

// String says it in one line.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Warning {
		b.WriteString(": warning")
	}
	if p.Where != "" {
		b.WriteString(": " + p.Where)
	}
	return b.String() + ": " + p.Text
}

// OK says whether there are warnings at most.
func OK(problems []Problem) bool {
	for _, p := range problems {
		if !p.Warning {
			return false
		}
	}
	return true
}

// judge collects problems. Where is a list of keys, and the line is that of the
// deepest of them that is in the file.
type judge struct {
	file     string
	root     *yaml.Node
	problems []Problem
}

func (j *judge) wrong(text string, where ...string) {
	j.problems = append(j.problems, Problem{File: j.file, Line: j.line(where), Where: strings.Join(where, "."), Text: text})
}

func (j *judge) warn(text string, where ...string) {
	j.wrong(text, where...)
	j.problems[len(j.problems)-1].Warning = true
}

func (j *judge) line(where []string) int {
	if len(where) == 0 || j.root == nil || len(j.root.Content) == 0 {
		return 0
	}
	line, node := 0, j.root.Content[0]
	for _, key := range where {
		value := child(node, key)
		if value == nil {
			break
		}
		line, node = value.line, value.node
	}
	return line
}

// member is a value with the line of its key.
type member struct {
	node *yaml.Node
	line int
}

func child(node *yaml.Node, key string) *member {
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return &member{node.Content[i+1], node.Content[i].Line}
		}
	}
	return nil
}

var (
	unknownKey = regexp.MustCompile(`^field (\S+) not found in type .*$`)
	value      = regexp.MustCompile("(?s) `.*`")
	wrongType  = regexp.MustCompile(`^cannot construct !!(\w+) into (.*)$`)
	goType     = regexp.MustCompile(`\*?(config|map\[string\])\S*`)
)

// plain is a message of the parser without what stands there, which may be a secret at
// a wrong place, and without the names of Go's types.
func plain(message string) string {
	message = unknownKey.ReplaceAllString(message, `unknown key "$1"`)
	message = goType.ReplaceAllString(value.ReplaceAllString(message, ""), "keys and values")
	return wrongType.ReplaceAllString(message, "a value of type $1 does not fit here: $2 needed")
}

// parsing tells of what the parser of YAML refused.
func (j *judge) parsing(err error) {
	if all, ok := errors.AsType[*yaml.LoadErrors](err); ok {
		for _, e := range all.Errors {
			j.problems = append(j.problems, Problem{File: j.file, Line: e.Mark.Line, Text: plain(e.Message)})
		}
		return
	}
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		j.problems = append(j.problems, Problem{File: j.file, Line: e.Mark.Line, Text: plain(e.Message)})
		return
	}
	j.problems = append(j.problems, Problem{File: j.file, Text: err.Error()})
}
