// Package command makes a program of several commands, each with flags of its own, a
// help that teaches, and exit codes that scripts can tell apart: for the example programs.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// The exit codes.
const (
	Done        = 0
	Failed      = 1
	Misused     = 2
	Damaged     = 3
	Undecided   = 4
	Interrupted = 130
)

// ExitCodes explains them, for the help of a program.
const ExitCodes = `Exit codes:
  0    done
  1    failed; the message says what and what to do next
  2    the arguments are wrong; nothing was done
  3    something in the repository is proven to be damaged
  4    something could not be judged, such as a file that the storage did not give
  130  interrupted; what was begun was cleaned up
`

// Program is a program of several commands.
type Program struct {
	Name     string
	Intro    string // of the help, before the commands
	Outro    string // and after them
	Commands []Command

	// Advise says what to do about an error, in a sentence, or "".
	Advise func(err error) string
}

// Command is one thing that a program does.
type Command struct {
	Name  string
	Short string // in a few words
	Usage string // the flags that matter, as after the name on the command line
	Long  string // what it does, and an example

	// Prepare declares the flags, and returns what runs when they have been parsed.
	Prepare func(flags *flag.FlagSet) Run
}

// Run does what a command is for. An error that is no [UsageError] or [ExitError] is a
// failure.
type Run func(ctx context.Context, std *Streams) error

// Streams is where a program prints.
type Streams struct {
	Out io.Writer // results
	Err io.Writer // messages and progress

	Terminal bool // Err is one: progress is shown
}

// UsageError says what is wrong with the arguments.
type UsageError string

// Error implements error.
func (e UsageError) Error() string { return string(e) }

// ExitError ends the program with a code; Err is printed, unless it is nil.
type ExitError struct {
	Code int
	Err  error
}

// Error implements error.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *ExitError) Unwrap() error { return e.Err }

// Run runs the command that args name and returns the exit code.
func (p *Program) Run(ctx context.Context, args []string, std *Streams) int {
	if len(args) == 0 {
		fmt.Fprint(std.Err, p.help())
		return Misused
	}
	name, args := args[0], args[1:]
	switch name {
	case "-h", "-help", "--help", "help":
		if len(args) == 0 || strings.HasPrefix(args[0], "-") {
			fmt.Fprint(std.Out, p.help())
			return Done
		}
		name, args = args[0], []string{"-h"}
	}
	for i := range p.Commands {
		if c := &p.Commands[i]; c.Name == name {
			return p.run(ctx, c, args, std)
		}
	}
	fmt.Fprintf(std.Err, "%s: there is no command %q; %s -h lists them\n", p.Name, name, p.Name)
	return Misused
}

func (p *Program) run(ctx context.Context, c *Command, args []string, std *Streams) int {
	flags := flag.NewFlagSet(p.Name+" "+c.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {} // Parse prints nothing: its error is printed below
	do := c.Prepare(flags)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		p.helpFor(c, flags, std.Out)
		return Done
	case err != nil:
		return p.fail(ctx, c, UsageError(err.Error()), std)
	case flags.NArg() > 0:
		return p.fail(ctx, c, UsageError(fmt.Sprintf("what is %q? Everything is given by flags", flags.Arg(0))), std)
	}
	if err := do(ctx, std); err != nil {
		return p.fail(ctx, c, err, std)
	}
	return Done
}

// fail prints an error with what to do about it, and returns the exit code.
func (p *Program) fail(ctx context.Context, c *Command, err error, std *Streams) int {
	if usage, ok := errors.AsType[UsageError](err); ok {
		fmt.Fprintf(std.Err, "%s %s: %s\n%s %s -h tells the arguments, with an example\n", p.Name, c.Name, usage, p.Name, c.Name)
		return Misused
	}
	code := Failed
	exit, ok := errors.AsType[*ExitError](err)
	switch {
	case ok && exit.Err == nil:
		return exit.Code
	case ok:
		code = exit.Code
	case ctx.Err() != nil:
		code = Interrupted
	}
	if code == Interrupted {
		err = fmt.Errorf("interrupted: %w", err)
	}
	fmt.Fprintf(std.Err, "%s %s: %v\n", p.Name, c.Name, err)
	if p.Advise != nil && code != Interrupted {
		if advice := p.Advise(err); advice != "" {
			fmt.Fprintln(std.Err, advice)
		}
	}
	return code
}

// help is the page about all commands.
func (p *Program) help() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nCommands:\n", p.Intro)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range p.Commands {
		fmt.Fprintf(w, "  %s\t%s\n", c.Name, c.Short)
	}
	_ = w.Flush() // to memory
	fmt.Fprintf(&b, "\n%s COMMAND -h explains one, with an example.\n\n%s\n%s", p.Name, p.Outro, ExitCodes)
	return b.String()
}

func (p *Program) helpFor(c *Command, flags *flag.FlagSet, w io.Writer) {
	fmt.Fprintf(w, "Usage: %s %s %s\n\n%s\nFlags:\n", p.Name, c.Name, c.Usage, c.Long)
	flags.SetOutput(w)
	flags.PrintDefaults()
	fmt.Fprintf(w, "\n%s", ExitCodes)
}
