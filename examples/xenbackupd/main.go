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
	"syscall"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/command"
	"github.com/xenbackup/xenbackup/examples/internal/config"
)

const usage = `Usage: xenbackupd -config FILE [-check | -run JOB [-schedule NAME]]

Backs up the VMs of XCP-ng and XenServer pools by schedules, in repositories that
Xen Orchestra can read. A configuration:

  state: /var/lib/xenbackupd          # what has to be remembered
  listen: 127.0.0.1:9745              # status, metrics, commands
  pools:
    main:
      url: https://xcp1.example.com
      password: {file: /etc/xenbackupd/main.password}
      fingerprint: sha256:...         # openssl x509 -fingerprint -sha256
  remotes:
    nas: {url: nfs://nas.example.com/export/backups}
  jobs:
    nightly:
      vms: {smart: {any_tags: [prod]}}   # or a list of UUIDs, or {pattern: ...}
      remotes: [nas]
    moved: {xo: job.json}             # a job as Xen Orchestra has it
  schedules:
    nightly:
      job: nightly
      cron: "30 1 * * *"
      zone: Europe/Berlin
      retention: 30                   # points to keep
      full_interval: 15               # every 15th is a full one
      catch_up: 6h                    # when the machine was off at 1:30

xenbackupd.yaml, beside the source, explains all keys. Begin with

  xenbackupd -config FILE -check          says what is wrong with it, by line
  xenbackupd -config FILE -run nightly    backs up now, showing how far it is
  xenbackupd -config FILE                 runs until SIGTERM

  curl http://127.0.0.1:9745/status       what runs, what is due, what went wrong
  curl -X POST http://127.0.0.1:9745/run/nightly
  /healthz and /metrics are for monitoring.

SIGTERM lets backups that run end within the grace (a minute, or the key grace), and
then cancels them: their snapshots are removed. A second one cancels at once. After
a crash, the next run of a job removes what the last has left.

`

const exitCodes = `
Exit codes:
  0    done: all was backed up, or the daemon was stopped
  1    something was not backed up, or the program could not run
  2    the arguments or the configuration are wrong
  130  -run was interrupted; what was begun was undone
`

type asked struct {
	config, run, schedule string
	check                 bool
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
	flags.StringVar(&a.schedule, "schedule", "", "with -run: run it as this schedule `name`, whose retention counts; needed when it has several")
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
	case a.check && a.run != "" || a.schedule != "" && a.run == "":
		return misused(std, "-check stands alone, and -schedule goes with -run")
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
		fmt.Fprintln(std.Err, p)
	}
	if !config.OK(problems) {
		return command.Misused
	}
	if a.check {
		preview(conf, time.Now(), std.Out)
		return command.Done
	}
	if a.run != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends the program at once
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
