// SPDX-License-Identifier: MPL-2.0

package target_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/pkg/sftp"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/mimird/mimird/actors/backup/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a target with its real server.
type rig struct {
	options target.Options
	// large is more than what is sent at once.
	large int
	// parts lists what is at the target beside whole files.
	parts func() []string
	// leave puts a part there, as a crash does; nil where a server does not let it.
	leave func(name string)
	// hang makes the server stop answering, until the test ends.
	hang func()
}

func rigs(t *testing.T) map[string]rig {
	return map[string]rig{"folder": folderRig(t), "sftp": sftpRig(t), "s3": s3Rig(t)}
}

func folderRig(t *testing.T) rig {
	dir := filepath.Join(t.TempDir(), "deep", "folder")
	return rig{options: target.Options{URL: dir}, large: 1 << 20, parts: partsIn(t, dir), leave: leaveIn(t, dir)}
}

func partsIn(t *testing.T, dir string) func() []string {
	return func() (parts []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				parts = append(parts, e.Name())
			}
		}
		return parts
	}
}

func leaveIn(t *testing.T, dir string) func(string) {
	return func(name string) { write(t, filepath.Join(dir, "."+name+".part"), "half") }
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// keyPair returns an OpenSSH private key and its signer.
func keyPair(t *testing.T) (string, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block)), signer
}

// sftpRig is a server of SSH and SFTP on loopback, with files below a directory.
func sftpRig(t *testing.T) rig {
	files, dir := t.TempDir(), t.TempDir()
	userKey, user := keyPair(t)
	_, host := keyPair(t)
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if c.User() != "backup" || !bytes.Equal(key.Marshal(), user.PublicKey().Marshal()) {
				return nil, errors.New("not you")
			}
			return nil, nil
		},
		PasswordCallback: func(c ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if c.User() != "backup" || string(password) != "open sesame" {
				return nil, errors.New("not you")
			}
			return nil, nil
		},
	}
	config.AddHostKey(host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	hanging := make(chan struct{})
	var hangOnce sync.Once
	ended := make(chan struct{})
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { serveSFTP(conn, config, files, hanging, ended) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		close(ended)
		running.Wait()
	})
	address := listener.Addr().String()
	known := write(t, filepath.Join(dir, "known_hosts"), knownhosts.Line([]string{address}, host.PublicKey())+"\n")
	return rig{
		options: target.Options{
			URL:  fmt.Sprintf("sftp://backup@%s%s/deep/folder", address, files),
			SFTP: target.SFTP{KeyFile: write(t, filepath.Join(dir, "key"), userKey), KnownHosts: known},
		},
		large: 1 << 20, parts: partsIn(t, filepath.Join(files, "deep", "folder")), leave: leaveIn(t, filepath.Join(files, "deep", "folder")),
		hang: func() { hangOnce.Do(func() { close(hanging) }) },
	}
}

// serveSFTP serves one connection until it ends, or the test does.
func serveSFTP(conn net.Conn, config *ssh.ServerConfig, root string, hanging, ended chan struct{}) {
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-ended:
		case <-done:
		}
		_ = conn.Close()
	}()
	server, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go ssh.DiscardRequests(requests)
	for newChannel := range channels {
		channel, requests, err := newChannel.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range requests {
				_ = r.Reply(r.Type == "subsystem", nil)
			}
		}()
		files, err := sftp.NewServer(slowChannel{channel, hanging, ended}, sftp.WithServerWorkingDirectory(root))
		if err != nil {
			return
		}
		_ = files.Serve()
		_ = files.Close()
	}
}

// slowChannel is a channel whose server reads nothing more once it hangs.
type slowChannel struct {
	ssh.Channel
	hanging, ended chan struct{}
}

func (c slowChannel) Read(p []byte) (int, error) {
	select {
	case <-c.hanging:
		<-c.ended
		return 0, io.EOF
	default:
		return c.Channel.Read(p)
	}
}

// s3Rig is a server of S3 on loopback, with two buckets.
func s3Rig(t *testing.T) rig {
	backend := s3mem.New()
	for _, name := range []string{"backups", "other"} {
		if err := backend.CreateBucket(name); err != nil {
			t.Fatal(err)
		}
	}
	files := gofakes3.New(backend).Server()
	hanging, ended := make(chan struct{}), make(chan struct{})
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-hanging:
			select {
			case <-r.Context().Done():
			case <-ended:
			}
			return
		default:
		}
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=me/") {
			http.Error(w, "", http.StatusForbidden)
			return
		}
		if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
			r.Body = io.NopCloser(&chunked{in: bufio.NewReader(r.Body)})
			r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
			r.Header.Set("Content-Length", r.Header.Get("X-Amz-Decoded-Content-Length"))
			r.ContentLength, _ = strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		close(ended)
		server.CloseClientConnections()
		server.Close()
	})
	return rig{
		options: target.Options{
			URL: "s3://backups/some/prefix",
			S3: target.S3{
				Endpoint: server.URL, Region: "us-east-1", AccessKey: "me",
				SecretKeyFile: write(t, filepath.Join(t.TempDir(), "secret"), "secret\nsecond line"),
			},
		},
		large: 17 << 20, parts: func() []string { return nil },
		hang: func() { once.Do(func() { close(hanging) }) },
	}
}

// chunked reads a body that is signed piece by piece, which the server of the library
// takes for whole objects only: each piece has a line with its length before it, and an
// empty one ends them.
type chunked struct {
	in   *bufio.Reader
	left int64
}

func (c *chunked) Read(p []byte) (int, error) {
	if c.left == 0 {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if line == "\r\n" { // after a piece
			return 0, nil
		}
		length, _, _ := strings.Cut(line, ";")
		if c.left, err = strconv.ParseInt(length, 16, 64); err != nil {
			return 0, err
		}
		if c.left == 0 {
			return 0, io.EOF
		}
	}
	n, err := c.in.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

func open(ctx context.Context, t *testing.T, o target.Options) target.Target {
	t.Helper()
	to, err := target.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func put(t *testing.T, to target.Target, name string, content []byte) {
	t.Helper()
	err := to.Create(name, func(w io.Writer) error { _, err := w.Write(content); return err })
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
}

func names(t *testing.T, to target.Target) []string {
	t.Helper()
	entries, err := to.List()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, fmt.Sprint(e.Name, " ", e.Size))
	}
	slices.Sort(out)
	return out
}

// Every target stores, lists, reads and removes; a name is there whole or not at all, and
// is never replaced.
func TestTarget_Files_WholeOrNotThere(t *testing.T) {
	for name, r := range rigs(t) {
		t.Run(name, func(t *testing.T) {
			to := open(t.Context(), t, r.options)
			large := bytes.Repeat([]byte("0123456789abcdef"), r.large/16)
			put(t, to, "mimird-one", large)
			put(t, to, "mimird-two", []byte("2"))
			if got := names(t, to); !slices.Equal(got, []string{fmt.Sprint("mimird-one ", r.large), "mimird-two 1"}) {
				t.Errorf("listed %v", got)
			}
			file, err := to.Open("mimird-one")
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(file)
			if err = errors.Join(err, file.Close()); err != nil || !bytes.Equal(got, large) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}

			broken := errors.New("disk on fire")
			err = to.Create("mimird-three", func(w io.Writer) error {
				_, err := w.Write(large)
				return errors.Join(err, broken)
			})
			if !errors.Is(err, broken) {
				t.Errorf("a write that failed: %v", err)
			}
			if err := to.Create("mimird-two", func(io.Writer) error { return nil }); !errors.Is(err, fs.ErrExist) {
				t.Errorf("a name that is taken: %v", err)
			}
			if got, parts := names(t, to), r.parts(); len(got) != 2 || len(parts) > 0 {
				t.Errorf("there are %v, and %v", got, parts)
			}

			for _, bad := range []string{"", "../up", "a/b", ".hidden", `a\b`, "c:d"} {
				if err := to.Create(bad, func(io.Writer) error { return nil }); err == nil {
					t.Errorf("created %q", bad)
				}
				if _, err := to.Open(bad); err == nil {
					t.Errorf("opened %q", bad)
				}
				if err := to.Remove(bad); err == nil {
					t.Errorf("removed %q", bad)
				}
			}
			if _, err := to.Open("mimird-none"); err == nil {
				t.Error("opened what is not there")
			}
			if err := to.Remove("mimird-one"); err != nil {
				t.Error(err)
			}
			if err := to.Close(); err != nil {
				t.Error(err)
			}

			again := open(t.Context(), t, r.options)
			if got := names(t, again); !slices.Equal(got, []string{"mimird-two 1"}) {
				t.Errorf("after a new connection there are %v", got)
			}
			if r.leave != nil {
				r.leave("mimird-half")
				r.leave("other-half")
			}
			if err := again.Sweep("mimird-"); err != nil {
				t.Error(err)
			}
			if parts := r.parts(); r.leave != nil && !slices.Equal(parts, []string{".other-half.part"}) {
				t.Errorf("parts %v", parts)
			}
			if got := names(t, again); len(got) != 1 {
				t.Errorf("swept away: %v", got)
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A server that stops answering holds nobody up for longer than the context.
func TestTarget_ServerHangs_EndsWithContext(t *testing.T) {
	for name, r := range rigs(t) {
		if r.hang == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			to := open(ctx, t, r.options)
			began := make(chan struct{})
			ended := make(chan error, 1)
			go func() {
				ended <- to.Create("mimird-one", func(w io.Writer) error {
					r.hang()
					close(began)
					for {
						if _, err := w.Write(make([]byte, 1<<20)); err != nil {
							return err
						}
					}
				})
			}()
			<-began
			cancel()
			if err := <-ended; err == nil {
				t.Error("stored")
			}
			_ = to.Close() // of a connection that has ended
		})
	}
}

func TestTarget_Strangers_Refused(t *testing.T) {
	sftpServer, s3Server := sftpRig(t), s3Rig(t)
	otherKey, other := keyPair(t)
	dir := t.TempDir()
	address := strings.TrimPrefix(sftpServer.options.URL, "sftp://backup@")
	address, _, _ = strings.Cut(address, "/")
	for name, change := range map[string]func(o *target.Options){
		"another user key": func(o *target.Options) { o.SFTP.KeyFile = write(t, filepath.Join(dir, "key"), otherKey) },
		"another host key": func(o *target.Options) {
			o.SFTP.KnownHosts = write(t, filepath.Join(dir, "known"), knownhosts.Line([]string{address}, other.PublicKey())+"\n")
		},
		"no host key": func(o *target.Options) { o.SFTP.KnownHosts = write(t, filepath.Join(dir, "empty"), "") },
		"wrong password": func(o *target.Options) {
			o.SFTP.KeyFile, o.SFTP.PasswordFile = "", write(t, filepath.Join(dir, "password"), "guess\n")
		},
		"no password": func(o *target.Options) {
			o.SFTP.KeyFile, o.SFTP.PasswordFile = "", write(t, filepath.Join(dir, "none"), "\n")
		},
		"not a key":   func(o *target.Options) { o.SFTP.KeyFile = write(t, filepath.Join(dir, "text"), "text") },
		"no key file": func(o *target.Options) { o.SFTP.KeyFile = filepath.Join(dir, "missing") },
	} {
		o := sftpServer.options
		change(&o)
		if to, err := target.Open(t.Context(), o); err == nil {
			t.Errorf("%s: opened %v", name, to.Close())
		}
	}
	o := sftpServer.options
	o.SFTP.KeyFile, o.SFTP.PasswordFile = "", write(t, filepath.Join(dir, "right"), "open sesame\n")
	if err := open(t.Context(), t, o).Close(); err != nil {
		t.Error(err)
	}
	o = s3Server.options
	o.S3.AccessKey = "you"
	to := open(t.Context(), t, o)
	if _, err := to.List(); err == nil {
		t.Error("listed with another key")
	}
	if err := to.Create("mimird-one", func(io.Writer) error { return nil }); err == nil {
		t.Error("stored with another key")
	}
}

func TestOptions_Check(t *testing.T) {
	sftpServer := target.SFTP{KeyFile: "k", KnownHosts: "h"}
	s3Server := target.S3{Endpoint: "https://s3.example.org", AccessKey: "a", SecretKeyFile: "s"}
	for _, c := range []struct {
		url  string
		want string // "" is fine
	}{
		{"backups", ""},
		{"/var/backups/mimird", ""},
		{"sftp://me@host/path", ""},
		{"sftp://me@host:2222/path", ""},
		{"s3://bucket", ""},
		{"s3://bucket/a/b/", ""},
		{"", "empty"},
		{"sftp://host/path", "needs a user"},
		{"sftp://me@host", "needs a path"},
		{"sftp://me:secret@host/path", "password does not belong"},
		{"s3://B/x", "name of a bucket"},
		{"ftp://me@host/x", `"ftp" is none of`},
		{"sftp://", "want a path"},
	} {
		err := target.Options{URL: c.url, SFTP: sftpServer, S3: s3Server}.Check()
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, target.ErrOptions) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %v, want %q", c.url, err, c.want)
		}
	}
	for _, o := range []target.Options{
		{URL: "sftp://me@host/path", SFTP: target.SFTP{KeyFile: "k"}},
		{URL: "sftp://me@host/path", SFTP: target.SFTP{KnownHosts: "h"}},
		{URL: "s3://bucket", S3: target.S3{Endpoint: "s3.example.org", AccessKey: "a", SecretKeyFile: "s"}},
		{URL: "s3://bucket", S3: target.S3{Endpoint: "https://s3.example.org"}},
	} {
		if err := o.Check(); !errors.Is(err, target.ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
