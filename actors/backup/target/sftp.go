// SPDX-License-Identifier: MPL-2.0

package target

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

const (
	// dialTime bounds the connection and the handshake.
	dialTime = 30 * time.Second
	// maxSecret bounds the file of a key or password.
	maxSecret = 64 << 10
)

// sftpTarget is a directory of a server.
type sftpTarget struct {
	dir    string
	conn   *ssh.Client
	client *sftp.Client
	stop   func() bool // no longer ends the connection with the context
}

func openSFTP(ctx context.Context, p place, o SFTP) (_ Target, err error) {
	config := &ssh.ClientConfig{User: p.user, Timeout: dialTime}
	if config.HostKeyCallback, err = knownhosts.New(o.KnownHosts); err != nil {
		return nil, fmt.Errorf("%w: read known_hosts: %w", ErrOptions, err)
	}
	if config.HostKeyAlgorithms, err = knownAlgorithms(config.HostKeyCallback, p.host); err != nil {
		return nil, err
	}
	if o.KeyFile != "" {
		raw, err := secretFile(o.KeyFile)
		if err != nil {
			return nil, err
		}
		signer, err := ssh.ParsePrivateKey(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: read %s: %w", ErrOptions, o.KeyFile, err)
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if o.PasswordFile != "" {
		password, err := secretLine(o.PasswordFile)
		if err != nil {
			return nil, err
		}
		config.Auth = append(config.Auth, ssh.Password(password))
	}
	dialing, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	socket, err := new(net.Dialer).DialContext(dialing, "tcp", p.host)
	if err != nil {
		return nil, fmt.Errorf("connect to SFTP server: %w", err)
	}
	if err := socket.SetDeadline(time.Now().Add(dialTime)); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to SFTP server: %w", err), socket.Close())
	}
	// Neither library knows contexts: a closed socket ends what they wait for.
	stop := context.AfterFunc(ctx, func() { _ = socket.Close() })
	t := &sftpTarget{dir: path.Clean(p.dir), stop: stop}
	defer func() {
		if err != nil {
			stop()
			err = fmt.Errorf("connect to SFTP server: %w", err)
			closeAll(t, socket)
		}
	}()
	conn, channels, requests, err := ssh.NewClientConn(socket, p.host, config)
	if err != nil {
		return nil, err
	}
	t.conn = ssh.NewClient(conn, channels, requests)
	if t.client, err = sftp.NewClient(t.conn); err != nil {
		return nil, err
	}
	if err := socket.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return t, t.client.MkdirAll(t.dir)
}

// closeAll closes what there is of a connection.
func closeAll(t *sftpTarget, socket net.Conn) {
	if t.client != nil {
		_ = t.client.Close()
	}
	if t.conn != nil {
		_ = t.conn.Close()
	}
	_ = socket.Close()
}

// knownAlgorithms returns the kinds of the keys that known_hosts has for a server: asked
// for another kind, a server would prove itself with a key that is not there.
func knownAlgorithms(known ssh.HostKeyCallback, host string) ([]string, error) {
	var have *knownhosts.KeyError
	err := known(host, &net.TCPAddr{IP: net.IPv4zero}, noKey{})
	if !errors.As(err, &have) || len(have.Want) == 0 {
		return nil, fmt.Errorf("%w: known_hosts has no key of %s; ssh-keyscan prints it", ErrOptions, host)
	}
	var kinds []string
	for _, k := range have.Want {
		if kind := k.Key.Type(); kind == ssh.KeyAlgoRSA {
			kinds = append(kinds, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			kinds = append(kinds, kind)
		}
	}
	return kinds, nil
}

// noKey is a key that no server has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("not a key") }

// secretFile reads a small file.
func secretFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	defer func() { _ = file.Close() }()                     // only read
	raw, err := io.ReadAll(io.LimitReader(file, maxSecret)) //nolint:forbidigo // through a limit
	if err != nil {
		return nil, fmt.Errorf("read secret: %w", err)
	}
	return raw, nil
}

// secretLine returns the first line of a file, which must not be empty.
func secretLine(path string) (string, error) {
	raw, err := secretFile(path)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("%w: the first line of %s is empty", ErrOptions, path)
	}
	return line, nil
}

func (t *sftpTarget) path(name string) string { return path.Join(t.dir, name) }

// List implements [Target].
func (t *sftpTarget) List() ([]Entry, error) {
	entries, err := t.client.ReadDir(t.dir)
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	var out []Entry
	for _, e := range entries {
		if _, part := nameOf(e.Name()); !part && e.Mode().IsRegular() && len(out) < maxEntries {
			out = append(out, Entry{e.Name(), e.Size()})
		}
	}
	return out, nil
}

// Create implements [Target].
func (t *sftpTarget) Create(name string, write func(io.Writer) error) error {
	if err := plain(name); err != nil {
		return err
	}
	if _, err := t.client.Lstat(t.path(name)); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, &fs.PathError{Op: "create", Path: t.path(name), Err: fs.ErrExist})
	}
	part := t.path(partOf(name))
	file, err := t.client.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return fmt.Errorf("create file on SFTP server: %w", err)
	}
	buffer := bufio.NewWriterSize(file, 1<<18)
	if err = write(buffer); err == nil {
		err = buffer.Flush()
	}
	if err == nil {
		err = syncFile(t.client, file)
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = t.client.Chmod(part, 0o600)
	}
	if err == nil {
		err = t.client.Rename(part, t.path(name)) // fails when the name was taken meanwhile
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write file on SFTP server: %w", err), t.client.Remove(part))
	}
	return nil
}

// syncFile has the server sync a file, where it can.
func syncFile(client *sftp.Client, file *sftp.File) error {
	if _, can := client.HasExtension("fsync@openssh.com"); can {
		return file.Sync()
	}
	return nil
}

// Open implements [Target].
func (t *sftpTarget) Open(name string) (io.ReadCloser, error) {
	if err := plain(name); err != nil {
		return nil, err
	}
	return t.client.Open(t.path(name))
}

// Remove implements [Target].
func (t *sftpTarget) Remove(name string) error {
	if err := plain(name); err != nil {
		return err
	}
	return t.client.Remove(t.path(name))
}

// Sweep implements [Target].
func (t *sftpTarget) Sweep(prefix string) error {
	entries, err := t.client.ReadDir(t.dir)
	if err != nil {
		return fmt.Errorf("list parts of backups: %w", err)
	}
	for _, e := range entries {
		if e.Mode().IsRegular() && isPart(e.Name(), prefix) {
			err = errors.Join(err, t.client.Remove(t.path(e.Name())))
		}
	}
	return err
}

// Close implements [Target].
func (t *sftpTarget) Close() error {
	t.stop()
	return errors.Join(ignoreClosed(t.client.Close()), ignoreClosed(t.conn.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
