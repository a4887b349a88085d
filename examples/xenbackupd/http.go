package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/xenbackup/xenbackup/examples/internal/config"
	"github.com/xenbackup/xenbackup/schedule"
)

// servers are what listens, by the key of the configuration that says where.
type servers struct {
	at   map[string]*server
	done sync.WaitGroup
}

type server struct {
	*http.Server
	address string // as the configuration has it
}

// listen takes the addresses of the configuration, or changes nothing. begin, which must
// be called, serves there, and no longer at others.
func (d *daemon) listen(ctx context.Context, conf *config.Config) (begin func(), err error) {
	fresh, listeners := map[string]*server{}, map[string]net.Listener{}
	for _, want := range []struct {
		key, address string
		handler      http.Handler
	}{
		{"listen", conf.Listen, d.private()},
		{"metrics", conf.Metrics, d.public()},
	} {
		if had := d.servers.at[want.key]; had != nil && had.address == want.address {
			fresh[want.key] = had
			continue
		}
		if want.address == "" {
			continue
		}
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", want.address)
		if err != nil {
			for _, l := range listeners {
				err = errors.Join(err, l.Close())
			}
			return nil, fmt.Errorf("%s: %w", want.key, err)
		}
		listeners[want.key] = listener
		fresh[want.key] = &server{address: want.address, Server: &http.Server{
			Handler: want.handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		}}
	}
	return func() { d.serveAt(ctx, fresh, listeners) }, nil
}

func (d *daemon) serveAt(ctx context.Context, fresh map[string]*server, listeners map[string]net.Listener) {
	for _, key := range slices.Sorted(maps.Keys(listeners)) {
		d.servers.done.Go(func() { _ = fresh[key].Serve(listeners[key]) }) // ends by close
		d.log.InfoContext(ctx, "listening", "for", key, "address", listeners[key].Addr().String())
	}
	old := d.servers.at
	d.servers.at = fresh
	for key, s := range old {
		if fresh[key] != s {
			_ = s.Close() // nobody is to ask there any more
		}
	}
}

func (s *servers) close() error {
	var errs []error
	for _, server := range s.at {
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
	if err := d.story().Err(); err != nil {
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
	case err != nil && d.current().conf.Job(job) == nil:
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
	if !d.current().runner.Cancel(r.PathValue("run"), r.URL.Query().Get("vm")) {
		http.Error(w, "no such run, or no such VM in it, is under way", http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	_, _ = fmt.Fprintln(w, "it is being cancelled and undone") // who asked is gone
}
