// SPDX-License-Identifier: MPL-2.0

// Package nginx runs a real nginx before a homeserver, for tests of what a proxy
// answers by itself.
package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"text/template"
	"time"

	"github.com/mimird/mimird/test/process"
)

// errMissing means that there is no nginx.
var errMissing = errors.New("nginx is missing: install it, or run sh test/nginx/fetch.sh, which unpacks Debian's package without root")

// Options say what to start.
type Options struct {
	// Root is the root of the repository, below which fetch.sh has put nginx.
	Root string
	// Dir is an empty directory for what nginx writes.
	Dir string
	// Upstream is the address of the homeserver, host and port.
	Upstream string
	// MaxEvent is the largest body of an event that is let through, such as 8k. Nginx has
	// no limit below the one of Matrix by itself.
	MaxEvent string
}

// Proxy is an nginx that runs.
type Proxy struct {
	address string
	cmd     *exec.Cmd
	log     *bytes.Buffer
	ended   chan struct{}
}

// config is the configuration: what is not about where files are is nginx's default.
var config = template.Must(template.New("nginx.conf").Parse(`
daemon off;
master_process off;
pid {{.Dir}}/nginx.pid;
error_log {{.Dir}}/error.log;
events {}
http {
	access_log off;
	client_body_temp_path {{.Dir}}/body;
	proxy_temp_path {{.Dir}}/proxy;
	fastcgi_temp_path {{.Dir}}/fastcgi;
	uwsgi_temp_path {{.Dir}}/uwsgi;
	scgi_temp_path {{.Dir}}/scgi;
	server {
		listen {{.Listen}};
		location / {
			proxy_pass http://{{.Upstream}};
		}
		location ~ /send/m.room.message/ {
			client_max_body_size {{.MaxEvent}};
			proxy_pass http://{{.Upstream}};
		}
	}
}
`))

// find returns the program and the directory of libraries that came with it.
func find(root string) (program, libraries string, err error) {
	if program, err := exec.LookPath("nginx"); err == nil {
		return program, "", nil
	}
	unpacked := filepath.Join(root, ".cache", "nginx")
	for _, program := range []string{"/usr/sbin/nginx", filepath.Join(unpacked, "usr", "sbin", "nginx")} {
		if info, err := os.Stat(program); err == nil && info.Mode().IsRegular() {
			found, err := filepath.Glob(filepath.Join(unpacked, "usr", "lib", "*-linux-gnu"))
			if err == nil && len(found) > 0 {
				libraries = found[0]
			}
			return program, libraries, nil
		}
	}
	return "", "", errMissing
}

// Start starts nginx and returns when it accepts connections, or fails when there is no nginx.
// Stop ends it.
func Start(ctx context.Context, opts Options) (*Proxy, error) {
	program, libraries, err := find(opts.Root)
	if err != nil {
		return nil, err
	}
	address, err := process.FreeAddress(ctx)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := config.Execute(&text, struct {
		Options
		Listen string
	}{opts, address}); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	file := filepath.Join(opts.Dir, "nginx.conf")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	p := &Proxy{address: address, log: new(bytes.Buffer), ended: make(chan struct{})}
	p.cmd = exec.Command(program, "-p", opts.Dir, "-c", file, "-e", filepath.Join(opts.Dir, "error.log")) //nolint:gosec,noctx // Stop ends it
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if libraries != "" {
		p.cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+libraries)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start nginx: %w", err)
	}
	go func() {
		_ = p.cmd.Wait() // it ends by a signal
		close(p.ended)
	}()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return p, connection.Close()
		}
		select {
		case <-poll.C:
		case <-p.ended:
			return nil, fmt.Errorf("nginx has ended: %s", p.log)
		case <-ctx.Done():
			p.Stop()
			return nil, ctx.Err()
		}
	}
}

// URL is where nginx listens.
func (p *Proxy) URL() string { return "http://" + p.address }

// Stop ends nginx and waits until it is gone.
func (p *Proxy) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // or it has ended
	<-p.ended
}
