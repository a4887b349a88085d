package command_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/xenbackup/xenbackup/examples/internal/command"
)

func greeter() *command.Program {
	return &command.Program{
		Name: "greeter", Intro: "Usage: greeter COMMAND\n", Outro: "It is kind.\n",
		Advise: func(error) string { return "Try another name." },
		Commands: []command.Command{{
			Name: "greet", Short: "greet somebody", Usage: "-name NAME", Long: "Greets.\n\n  greeter greet -name Ada\n",
			Prepare: func(flags *flag.FlagSet) command.Run {
				name := flags.String("name", "", "whom to `greet`")
				return func(ctx context.Context, std *command.Streams) error {
					switch *name {
					case "":
						return command.UsageError("-name is needed")
					case "nobody":
						return errors.New("nobody is there")
					case "broken":
						return &command.ExitError{Code: command.Damaged}
					case "ill":
						return &command.ExitError{Code: command.Undecided, Err: errors.New("who knows")}
					}
					if ctx.Err() != nil {
						return ctx.Err()
					}
					_, err := fmt.Fprintln(std.Out, "Hello,", *name)
					return err
				}
			},
		}, {
			Name: "say words", Short: "say what is given", Usage: "WORD...", Long: "Says.\n", Operands: true,
			Prepare: func(flags *flag.FlagSet) command.Run {
				end := flags.String("end", ".", "what is said at the `end`")
				return func(_ context.Context, std *command.Streams) error {
					_, err := fmt.Fprintf(std.Out, "%q%s", flags.Args(), *end)
					return err
				}
			},
		}},
	}
}

func ExampleProgram() {
	std := &command.Streams{Out: os.Stdout, Err: os.Stdout}
	fmt.Println(greeter().Run(context.Background(), []string{"greet", "-name", "Ada"}, std))
	fmt.Println(greeter().Run(context.Background(), []string{"greet", "-name", "nobody"}, std))
	// Output:
	// Hello, Ada
	// 0
	// greeter greet: nobody is there
	// Try another name.
	// 1
}

func TestExitCodeTellsWhatHappened(t *testing.T) {
	t.Parallel()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range []struct {
		ctx      context.Context //nolint:containedctx // of one row
		args     []string
		code     int
		out, err string
	}{
		{nil, nil, command.Misused, "", "greet somebody"},
		{nil, []string{"-h"}, command.Done, "Exit codes", ""},
		{nil, []string{"help", "greet"}, command.Done, "greeter greet -name Ada", ""},
		{nil, []string{"greet", "-h"}, command.Done, "whom to greet", ""},
		{nil, []string{"wave"}, command.Misused, "", `there is no command "wave"`},
		{nil, []string{"greet"}, command.Misused, "", "-name is needed\ngreeter greet -h tells"},
		{nil, []string{"greet", "-loud"}, command.Misused, "", "-loud"},
		{nil, []string{"greet", "Ada"}, command.Misused, "", `what is "Ada"?`},
		{nil, []string{"say", "words", "one", "-end", "!", "two", "-"}, command.Done, `["one" "two" "-"]!`, ""},
		{nil, []string{"say", "words", "-end=?", "--", "one", "-end"}, command.Done, `["one" "-end"]?`, ""},
		{nil, []string{"say", "words"}, command.Done, "[].", ""},
		{nil, []string{"say", "words", "one", "-loud"}, command.Misused, "", "-loud"},
		{nil, []string{"help", "say", "words"}, command.Done, "WORD...", ""},
		{nil, []string{"say"}, command.Misused, "", "say words  say what is given"},
		{nil, []string{"say", "-h"}, command.Done, "say words  say what is given", ""},
		{nil, []string{"greet", "-name", "broken"}, command.Damaged, "", ""},
		{nil, []string{"greet", "-name", "ill"}, command.Undecided, "", "who knows"},
		{cancelled, []string{"greet", "-name", "Ada"}, command.Interrupted, "", "interrupted: context canceled"},
	} {
		ctx := row.ctx
		if ctx == nil {
			ctx = t.Context()
		}
		var out, errs bytes.Buffer
		require.Equal(t, row.code, greeter().Run(ctx, row.args, &command.Streams{Out: &out, Err: &errs}), "%v", row.args)
		require.Contains(t, out.String(), row.out)
		require.Contains(t, errs.String(), row.err)
		require.True(t, row.out != "" || out.Len() == 0, "%v: %s", row.args, out.String())
	}
}
