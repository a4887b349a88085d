// Xenbackupd runs backup jobs by their schedules: a small daemon around the library,
// which is configured by one YAML file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/config"
)

// asked is what the arguments ask for.
type asked struct {
	config, run, plan, schedule string
	check                       bool
}

func main() {
	os.Exit(start(os.Args[1:], &command.Streams{Out: os.Stdout, Err: os.Stderr, Terminal: command.IsTerminal(os.Stdout)}))
}

// start returns the exit code.
func start(args []string, std *command.Streams) int {
	var a asked
	flags := flag.NewFlagSet("xenbackupd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&a.config, "config", "", "the configuration, a YAML `file`")
	flags.BoolVar(&a.check, "check", false, "check the configuration, and show when schedules are due; nothing is connected to")
	flags.StringVar(&a.run, "run", "", "run this `job` now, once")
	flags.StringVar(&a.plan, "plan", "", "tell what a run of this `job` would do now, and why; nothing is changed")
	flags.StringVar(&a.schedule, "schedule", "", "with -run and -plan: as this schedule `name`, whose retention counts; needed when it has several")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(std.Out, usage)
		flags.SetOutput(std.Out)
		flags.PrintDefaults()
		fmt.Fprint(std.Out, exitCodes)
		return command.Done
	case err != nil:
		return misused(std, err.Error())
	case flags.NArg() > 0:
		return misused(std, fmt.Sprintf("what is %q?", flags.Arg(0)))
	case a.config == "":
		return misused(std, "-config is needed")
	case a.check && a.run+a.plan+a.schedule != "" || a.run != "" && a.plan != "" || a.schedule != "" && a.run+a.plan == "":
		return misused(std, "one of -check, -run and -plan; -schedule goes with the latter two")
	}
	return a.do(std)
}

func misused(std *command.Streams, text string) int {
	fmt.Fprintf(std.Err, "xenbackupd: %s; xenbackupd -h tells the arguments, with an example\n", text)
	return command.Misused
}

func (a *asked) do(std *command.Streams) int {
	conf, problems := config.Load(a.config)
	for _, p := range problems {
		if !p.Warning || a.run+a.plan == "" { // what runs every night does not repeat what -check says
			fmt.Fprintln(std.Err, p)
		}
	}
	if !config.OK(problems) {
		return command.Misused
	}
	if a.check {
		preview(conf, time.Now(), std.Out)
		return command.Done
	}
	if a.run+a.plan != "" {
		ctx, stop := signal.NotifyContext(context.Background(), command.Interrupts()...)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends the program at once
		if a.plan != "" {
			return plan(ctx, conf, a.plan, a.schedule, std)
		}
		return runOnce(ctx, conf, a.run, a.schedule, std)
	}
	if err := serve(conf, std); err != nil {
		fmt.Fprintln(std.Err, "xenbackupd:", err)
		return command.Failed
	}
	return command.Done
}

func serve(conf *config.Config, std *command.Streams) error {
	s, err := openService(conf, slog.New(slog.NewTextHandler(std.Err, nil)), nil)
	if err != nil {
		return err
	}
	d, err := newDaemon(s)
	if err == nil {
		err = d.serve(context.Background())
	}
	return errors.Join(err, s.close())
}
