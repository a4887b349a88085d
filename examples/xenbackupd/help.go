package main

const usage = `Usage: xenbackupd -config FILE [-check | -plan JOB | -run JOB [-schedule NAME]]

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
  xenbackupd -config FILE -plan nightly   tells which VMs and disks, full or delta, and why
  xenbackupd -config FILE -run nightly    backs up now, showing how far it is
  xenbackupd -config FILE                 runs until SIGTERM

  curl http://127.0.0.1:9745/status       what runs, what is due, what went wrong
  curl http://127.0.0.1:9745/runs         the last runs; ?job=NAME&vm=UUID&status=failure&text=...
  curl http://127.0.0.1:9745/runs/RUN     all of one, as Xen Orchestra logs it
  curl -X POST http://127.0.0.1:9745/run/nightly       now; ?schedule=NAME if it has several
  curl -X POST http://127.0.0.1:9745/cancel/RUN        a run that /status shows; ?vm=UUID for one VM
  /healthz and /metrics are for monitoring.

SIGHUP takes a changed configuration into use: what runs ends under the old one, and a
wrong one is refused, which the log, /status and a metric tell.

SIGTERM lets backups that run end within the grace (a minute, or the key grace), and
then cancels them: their snapshots are removed. A second one cancels at once. After
a crash, the next run of a job removes what the last has left.

`

const exitCodes = `
Exit codes:
  0    done: all was backed up, or the daemon was stopped
  1    something was not, or with -plan would not be, backed up, or the program could not run
  2    the arguments or the configuration are wrong
  4    nothing failed, but -run skipped VMs; it says which, and why
  130  -run was interrupted; what was begun was undone
`
