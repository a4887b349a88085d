package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/schedule"
)

// servers are what listens.
type servers struct {
	all  []*http.Server
	done sync.WaitGroup
}

// listen serves at the addresses of the configuration.
func (d *daemon) listen(ctx context.Context) (*servers, error) {
	s := &servers{}
	for _, at := range []struct {
		key, address string
		handler      http.Handler
	}{
		{"listen", d.conf.Listen, d.private()},
		{"metrics", d.conf.Metrics, d.public()},
	} {
		if at.address == "" {
			continue
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", at.address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", at.key, err), s.close())
		}
		server := &http.Server{Handler: at.handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute}
		s.all = append(s.all, server)
		s.done.Go(func() { _ = server.Serve(listener) }) // ends by close
		d.log.InfoContext(ctx, "listening", "for", at.key, "address", listener.Addr().String())
	}
	return s, nil
}

func (s *servers) close() error {
	var errs []error
	for _, server := range s.all {
		errs = append(errs, server.Close())
	}
	s.done.Wait()
	return errors.Join(errs...)
}

// public is what anybody may see.
func (d *daemon) public() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", d.health)
	mux.Handle("GET /metrics", d.counts.registry.Handler(d.look))
	return mux
}

// private is for whoever is on this machine; no web page that a browser here shows may
// read it or give commands.
func (d *daemon) private() http.Handler {
	mux := d.public()
	mux.HandleFunc("GET /status", d.showStatus)
	mux.HandleFunc("GET /runs", d.showRuns)
	mux.HandleFunc("GET /runs/{run}", d.showRun)
	mux.HandleFunc("POST /run/{job}", d.startRun)
	mux.HandleFunc("POST /cancel/{run}", d.cancelRun)
	inside := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !namesLoopback(r.Host) {
			http.Error(w, "ask by a loopback address", http.StatusForbidden)
			return
		}
		inside.ServeHTTP(w, r)
	})
}

func namesLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// health is 200 while schedules are kept, and what happens is written down.
func (d *daemon) health(w http.ResponseWriter, _ *http.Request) {
	if d.stopping.Load() {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	if err := d.story.Err(); err != nil {
		http.Error(w, "what happens cannot be written down: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok") // who asked is gone
}

func (d *daemon) showStatus(w http.ResponseWriter, _ *http.Request) {
	answer(w, d.status())
}

// answer writes JSON.
func answer(w http.ResponseWriter, value any) {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) // who asked is gone
}

func (d *daemon) startRun(w http.ResponseWriter, r *http.Request) {
	job := r.PathValue("job")
	switch err := d.runNow(job, r.URL.Query().Get("schedule")); {
	case errors.Is(err, schedule.ErrBusy), errors.Is(err, schedule.ErrStopped):
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil && d.conf.Job(job) == nil:
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		w.WriteHeader(http.StatusAccepted)
		_, _ = fmt.Fprintf(w, "%s was started; /status tells how far it is\n", job) // who asked is gone
	}
}

// cancelRun cancels a run, or one VM of it.
func (d *daemon) cancelRun(w http.ResponseWriter, r *http.Request) {
	if !d.runner.Cancel(r.PathValue("run"), r.URL.Query().Get("vm")) {
		http.Error(w, "no such run, or no such VM in it, is under way", http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	_, _ = fmt.Fprintln(w, "it is being cancelled and undone") // who asked is gone
}
