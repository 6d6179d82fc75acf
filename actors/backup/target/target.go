// SPDX-License-Identifier: MPL-2.0

// Package target is where backups are kept: a folder, a server that is reached over SFTP,
// or a bucket of S3. It moves bytes under names and knows nothing of what is in them. A
// name is there whole or not at all: a backup that was cut short never has one.
//
// Its caller is the program, which hands [Open] to actors/backup/schedule. Start reading
// at [Target].
package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// maxEntries bounds what is read of a target that others use too.
const maxEntries = 100_000

// Target is a place for files, of one run: it is opened for it and closed after it. Its
// methods block and are for one goroutine at a time. What they wait for ends with the
// context that [Open] was given, except for the system calls of a folder.
type Target interface {
	// List returns the files, in no order. It leaves out parts.
	List() ([]Entry, error)
	// Create stores what write writes under a free name: when it returns nil the file is
	// complete and as durable as the target makes files, else there is none.
	Create(name string, write func(io.Writer) error) error
	// Open reads a file from its beginning. The caller closes it.
	Open(name string) (io.ReadCloser, error)
	// Remove removes a file.
	Remove(name string) error
	// Sweep removes the parts, left by a crash, of files whose names begin with prefix.
	Sweep(prefix string) error
	// Close ends the connection.
	Close() error
}

// Entry is one file of a target.
type Entry struct {
	Name string
	Size int64
}

// Options say where and how.
type Options struct {
	// URL is a path, sftp://user@host[:port]/path or s3://bucket[/prefix]. A path that is
	// not absolute is below Dir.
	URL string
	Dir string
	// SFTP and S3 are for URLs of these kinds.
	SFTP SFTP
	S3   S3
}

// SFTP says who we are, and how the server proves who it is.
type SFTP struct {
	// KeyFile is a private key of OpenSSH without a passphrase; PasswordFile has a password
	// in its first line. One of them is needed.
	KeyFile, PasswordFile string
	// KnownHosts is a file in the format of OpenSSH. It is needed: a server that cannot
	// prove who it is gets nothing.
	KnownHosts string
}

// S3 is the account at a server of S3.
type S3 struct {
	// Endpoint is the URL of the server, such as https://s3.eu-central-1.amazonaws.com.
	Endpoint string
	Region   string
	// AccessKey and the first line of SecretKeyFile are the credentials.
	AccessKey, SecretKeyFile string
}

// ErrOptions means that a target cannot work as it is described; another attempt does not
// help.
var ErrOptions = errors.New("the target of backups is not described right")

// Check reports what is wrong with options, without touching anything.
//
// Errors: [ErrOptions].
func (o Options) Check() error {
	_, err := o.parse()
	return err
}

// place is an URL taken apart.
type place struct {
	kind kind
	dir  string // of a folder and of SFTP
	user string
	host string // with its port

	bucket, prefix string
}

type kind int

const (
	folderKind kind = iota
	sftpKind
	s3Kind
)

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (o Options) parse() (place, error) {
	bad := func(format string, args ...any) (place, error) {
		return place{}, fmt.Errorf("%w: %s", ErrOptions, fmt.Sprintf(format, args...))
	}
	scheme, _, isURL := strings.Cut(o.URL, "://")
	switch {
	case o.URL == "":
		return bad("it is empty")
	case !isURL:
		dir := o.URL
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(o.Dir, dir)
		}
		return place{kind: folderKind, dir: dir}, nil
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return bad("want a path, sftp://user@host/path or s3://bucket/prefix")
	}
	if _, has := u.User.Password(); has {
		return bad("a password does not belong into the URL; use a file")
	}
	switch scheme {
	case "sftp":
		p := place{kind: sftpKind, user: u.User.Username(), host: u.Host, dir: u.Path}
		if u.Port() == "" {
			p.host = strings.TrimSuffix(u.Host, ":") + ":22"
		}
		switch {
		case p.user == "":
			return bad("sftp:// needs a user, as in sftp://user@host/path")
		case strings.Trim(p.dir, "/") == "":
			return bad("sftp:// needs a path, as in sftp://user@host/path")
		case o.SFTP.KeyFile == "" && o.SFTP.PasswordFile == "":
			return bad("sftp needs a key_path or a password_path")
		case o.SFTP.KnownHosts == "":
			return bad("sftp needs known_hosts, by which the server is recognised; ssh-keyscan writes such a file")
		}
		return p, nil
	case "s3":
		p := place{kind: s3Kind, bucket: u.Host, prefix: strings.Trim(u.Path, "/")}
		if p.prefix != "" {
			p.prefix += "/"
		}
		endpoint, err := url.Parse(o.S3.Endpoint)
		switch {
		case !bucketName.MatchString(p.bucket):
			return bad("%q cannot be the name of a bucket", p.bucket)
		case err != nil || endpoint.Host == "" || (endpoint.Scheme != "https" && endpoint.Scheme != "http") || strings.Trim(endpoint.Path, "/") != "":
			return bad("s3 needs an endpoint, such as https://s3.eu-central-1.amazonaws.com")
		case o.S3.AccessKey == "" || o.S3.SecretKeyFile == "":
			return bad("s3 needs an access_key and a secret_key_path")
		}
		return p, nil
	}
	return bad("%q is none of sftp, s3; a folder is a path", scheme)
}

// Open opens a target; ctx ends what it waits for, then and later.
//
// Errors: [ErrOptions], and those of the system and of servers.
func Open(ctx context.Context, o Options) (Target, error) {
	p, err := o.parse()
	if err != nil {
		return nil, err
	}
	switch p.kind {
	case sftpKind:
		return openSFTP(ctx, p, o.SFTP)
	case s3Kind:
		return openS3(ctx, p, o.S3)
	}
	return openFolder(p.dir)
}

// partOf is the name of a file while it is being written, and nameOf the reverse of it.
func partOf(name string) string { return "." + name + ".part" }

func nameOf(part string) (name string, ok bool) {
	rest, hidden := strings.CutPrefix(part, ".")
	name, ok = strings.CutSuffix(rest, ".part")
	return name, ok && hidden && name != ""
}

// isPart reports whether a name is one of a part whose file has a prefix.
func isPart(part, prefix string) bool {
	name, ok := nameOf(part)
	return ok && strings.HasPrefix(name, prefix)
}

// plain reports whether a name stays in its directory.
func plain(name string) error {
	if name == "" || name != path.Base(name) || strings.ContainsAny(name, `\/:`) || strings.HasPrefix(name, ".") {
		return fmt.Errorf("%q cannot be the name of a backup", name)
	}
	return nil
}
