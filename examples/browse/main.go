// Browse shows the files of a restore point in a web browser, read only and on this machine
// alone: each volume is a directory at the top. A directory with an index.html shows that.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"

	"github.com/xenbackup/xenbackup/filerestore"
	"github.com/xenbackup/xenbackup/remote"
	"github.com/xenbackup/xenbackup/remote/all"
	"github.com/xenbackup/xenbackup/remote/catalog"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("Usage: browse REMOTE-URL BACKUP-ID (the key of an encrypted repository is $XENBACKUP_REMOTE_KEY)")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	repository := must(catalog.Open(ctx, must(all.Opener().Open(ctx, os.Args[1], nil)), &catalog.Options{Key: remote.Secret(os.Getenv("XENBACKUP_REMOTE_KEY"))}))
	session := must(filerestore.OpenBackup(ctx, repository, must(repository.Point(ctx, os.Args[2])), nil))
	volumes, index := map[string]http.Handler{}, "<p>"
	for v := range session.All() {
		if files, err := v.Open(ctx); err == nil {
			name := strings.ReplaceAll(v.ID, "/", ":")
			volumes[name] = http.StripPrefix("/"+name, http.FileServerFS(files))
			index += fmt.Sprintf("<a href=\"/%s/\">%[1]s</a><br>\n", url.PathEscape(name))
		}
	}
	listener := must(new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"))
	context.AfterFunc(ctx, func() { stop(); _ = listener.Close() })
	fmt.Printf("http://%s/\n", listener.Addr())
	err := http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'") // what tenants wrote is shown, not run
		name, _, below := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if files := volumes[name]; r.Host != listener.Addr().String() { // a foreign name that leads here is a trap
			http.Error(w, "unknown host", http.StatusMisdirectedRequest)
		} else if files != nil && below {
			files.ServeHTTP(w, r)
		} else {
			fmt.Fprint(w, index)
		}
	}))
	log.Print(err, session.Close()) // which gives the lease of the point back
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
