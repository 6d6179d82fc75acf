// SPDX-License-Identifier: MPL-2.0

package config

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// NotifySink is one way to tell a person what has happened. One of Ntfy, UnifiedPush, Webhook,
// Mail and Command is set.
type NotifySink struct {
	Ntfy    string `yaml:"ntfy"`
	Webhook string `yaml:"webhook"`
	// UnifiedPush is an app that takes encrypted pushes.
	UnifiedPush NotifyPush `yaml:"unifiedpush"`
	// TokenPath has a token for the server in its first line.
	TokenPath string     `yaml:"token_path"`
	Mail      NotifyMail `yaml:"mail"`
	Command   []string   `yaml:"command"`
	Accounts  []Identity `yaml:"accounts"`
	Contacts  []Identity `yaml:"contacts"`
	Kinds     []string   `yaml:"kinds"`
	Content   bool       `yaml:"content"`
	// Quiet is "22:00-07:00", local time.
	Quiet string `yaml:"quiet"`
}

// NotifyPush is where an app takes encrypted pushes, and its keys in base64.
type NotifyPush struct {
	Endpoint string `yaml:"endpoint"`
	P256DH   string `yaml:"p256dh"`
	Auth     string `yaml:"auth"`
}

// validate reports what is wrong, without the keys.
func (p NotifyPush) validate() error {
	if p.Endpoint == "" || p.P256DH == "" || p.Auth == "" {
		return errors.New("want endpoint, p256dh and auth, as the app shows them")
	}
	decode := func(text string) ([]byte, error) {
		return base64.RawURLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "=")))
	}
	point, err := decode(p.P256DH)
	if err == nil {
		_, err = ecdh.P256().NewPublicKey(point)
	}
	if err != nil {
		return errors.New("p256dh is not a public key of P-256 in base64")
	}
	if auth, err := decode(p.Auth); err != nil || len(auth) != 16 {
		return errors.New("auth is not 16 bytes in base64")
	}
	return nil
}

// NotifyMail is a mailbox.
type NotifyMail struct {
	Server       string `yaml:"server"`
	User         string `yaml:"user"`
	PasswordPath string `yaml:"password_path"`
	From         string `yaml:"from"`
	To           string `yaml:"to"`
}

// NotifyKinds are what a sink can be told.
var NotifyKinds = []string{"message", "request", "invite", "call", "trouble"}

var sinkName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// QuietHours reads [NotifySink.Quiet]; both are 0 for none.
func QuietHours(text string) (from, until time.Duration, err error) {
	if text == "" {
		return 0, 0, nil
	}
	begin, end, ok := strings.Cut(text, "-")
	a, errA := time.Parse("15:04", strings.TrimSpace(begin))
	b, errB := time.Parse("15:04", strings.TrimSpace(end))
	if !ok || errA != nil || errB != nil || a.Equal(b) {
		return 0, 0, fmt.Errorf("%q is not like 22:00-07:00", clip(text))
	}
	clock := func(t time.Time) time.Duration {
		return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	}
	return clock(a), clock(b), nil
}

func (c *Config) validateNotify(bad func(format string, args ...any)) {
	for name, s := range c.Notify {
		where := "notify." + clip(name)
		if !sinkName.MatchString(name) {
			bad("notify: %q is not a name of 1 to 32 small letters, digits and dashes", clip(name))
		}
		ways := 0
		for _, set := range []bool{s.Ntfy != "", s.Webhook != "", s.UnifiedPush != (NotifyPush{}), s.Mail != (NotifyMail{}), len(s.Command) > 0} {
			if set {
				ways++
			}
		}
		if ways != 1 {
			bad("%s: want one of ntfy, unifiedpush, webhook, mail, command", where)
		}
		for key, text := range map[string]string{"ntfy": s.Ntfy, "webhook": s.Webhook, "unifiedpush.endpoint": s.UnifiedPush.Endpoint} {
			if u, err := url.Parse(text); text != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
				bad("%s.%s: want a URL, such as https://ntfy.sh/topic", where, key)
			}
		}
		if s.UnifiedPush != (NotifyPush{}) {
			if err := s.UnifiedPush.validate(); err != nil {
				bad("%s.unifiedpush: %w", where, err)
			}
		}
		if s.Mail != (NotifyMail{}) {
			if _, _, err := net.SplitHostPort(s.Mail.Server); err != nil || !strings.Contains(s.Mail.From, "@") || !strings.Contains(s.Mail.To, "@") {
				bad("%s.mail: want server as host:port, and from and to as addresses", where)
			}
			if (s.Mail.User == "") != (s.Mail.PasswordPath == "") {
				bad("%s.mail: user and password_path belong together", where)
			}
		}
		for _, kind := range s.Kinds {
			if !slices.Contains(NotifyKinds, kind) {
				bad("%s.kinds: %q is none of %s", where, clip(kind), strings.Join(NotifyKinds, ", "))
			}
		}
		if _, _, err := QuietHours(s.Quiet); err != nil {
			bad("%s.quiet: %w", where, err)
		}
	}
}
