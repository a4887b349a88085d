// Package command makes a program of several commands, each with flags of its own, a
// help that teaches, and exit codes that scripts can tell apart: for the example programs.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
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
	Name  string // one word, or two: a group and what is done with it
	Short string // in a few words
	Usage string // the flags that matter, as after the name on the command line
	Long  string // what it does, and an example

	// Operands tells that there may be arguments beside the flags, before, between or
	// behind them; "--" ends the flags. Run finds them as the arguments of the flag set.
	Operands bool

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
	switch args[0] {
	case "-h", "-help", "--help", "help":
		if len(args) == 1 || strings.HasPrefix(args[1], "-") {
			fmt.Fprint(std.Out, p.help())
			return Done
		}
		args = append(slices.Clone(args[1:]), "-h")
	}
	for i := range p.Commands {
		c := &p.Commands[i]
		words := strings.Fields(c.Name)
		if len(args) >= len(words) && slices.Equal(args[:len(words)], words) {
			return p.run(ctx, c, args[len(words):], std)
		}
	}
	return p.unknown(args, std)
}

// unknown lists the commands of a group, or says that there is none of this name.
func (p *Program) unknown(args []string, std *Streams) int {
	w, code := std.Err, Misused
	if len(args) > 1 && slices.Contains([]string{"-h", "-help", "--help"}, args[1]) {
		w, code = std.Out, Done
	}
	var group []Command
	for _, c := range p.Commands {
		if strings.HasPrefix(c.Name, args[0]+" ") {
			group = append(group, c)
		}
	}
	if len(group) == 0 {
		fmt.Fprintf(std.Err, "%s: there is no command %q; %s -h lists them\n", p.Name, args[0], p.Name)
		return Misused
	}
	fmt.Fprintf(w, "%s %s is one of these:\n\n%s\n%s COMMAND -h explains one, with an example.\n", p.Name, args[0], table(group), p.Name)
	return code
}

func (p *Program) run(ctx context.Context, c *Command, args []string, std *Streams) int {
	flags := flag.NewFlagSet(p.Name+" "+c.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {} // Parse prints nothing: its error is printed below
	do := c.Prepare(flags)
	switch err := parse(flags, args, c.Operands); {
	case errors.Is(err, flag.ErrHelp):
		p.helpFor(c, flags, std.Out)
		return Done
	case err != nil:
		return p.fail(ctx, c, UsageError(err.Error()), std)
	}
	if err := do(ctx, std); err != nil {
		return p.fail(ctx, c, err, std)
	}
	return Done
}

// parse parses flags, and operands wherever they are.
func parse(flags *flag.FlagSet, args []string, allowed bool) error {
	var operands []string
	for {
		if err := flags.Parse(args); err != nil {
			return err
		}
		rest := flags.Args()
		if len(rest) == 0 {
			break
		}
		if !allowed {
			return UsageError(fmt.Sprintf("what is %q? Everything is given by flags", rest[0]))
		}
		if parsed := len(args) - len(rest); parsed > 0 && args[parsed-1] == "--" {
			operands = append(operands, rest...)
			break
		}
		operands, args = append(operands, rest[0]), rest[1:]
	}
	return flags.Parse(append([]string{"--"}, operands...))
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
	fmt.Fprintf(&b, "%s\nCommands:\n%s", p.Intro, table(p.Commands))
	fmt.Fprintf(&b, "\n%s COMMAND -h explains one, with an example.\n\n%s\n%s", p.Name, p.Outro, ExitCodes)
	return b.String()
}

// table says in a few words what commands do.
func table(commands []Command) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range commands {
		fmt.Fprintf(w, "  %s\t%s\n", c.Name, c.Short)
	}
	_ = w.Flush() // to memory
	return b.String()
}

func (p *Program) helpFor(c *Command, flags *flag.FlagSet, w io.Writer) {
	fmt.Fprintf(w, "Usage: %s %s %s\n\n%s\nFlags:\n", p.Name, c.Name, c.Usage, c.Long)
	flags.SetOutput(w)
	flags.PrintDefaults()
	fmt.Fprintf(w, "\n%s", ExitCodes)
}
