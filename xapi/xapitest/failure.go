package xapitest

import "strings"

// failure is an error as the XenAPI reports it: a code and its parameters.
type failure struct {
	code   string
	params []string
}

func fail(code string, params ...string) *failure {
	return &failure{code: code, params: params}
}

func handleInvalid(class, ref string) *failure { return fail("HANDLE_INVALID", class, ref) }

// Error returns the code followed by its parameters.
func (f *failure) Error() string {
	if len(f.params) == 0 {
		return f.code
	}
	return f.code + "(" + strings.Join(f.params, ", ") + ")"
}
