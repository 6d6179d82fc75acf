// SPDX-License-Identifier: MPL-2.0

package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/smtp"
	"net/textproto"
	"os/exec"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 10

// httpClient is for all senders over HTTP. It follows no redirects: a token would go along.
var httpClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// Ntfy returns a sender to a topic of an ntfy server, or to an endpoint of UnifiedPush that
// takes plain text. token may be "".
func Ntfy(url, token string) func(context.Context, Notification) error {
	return func(ctx context.Context, n Notification) error {
		header := http.Header{"Title": {mime.QEncoding.Encode("utf-8", n.Title)}, "Content-Type": {"text/plain; charset=utf-8"}}
		if n.Kind == "trouble" {
			header.Set("Priority", "high")
			header.Set("Tags", "warning")
		}
		text := n.Text
		if text == "" {
			text = n.Title
		}
		return post(ctx, url, token, header, []byte(text))
	}
}

// Webhook returns a sender that posts notifications as JSON.
func Webhook(url, token string) func(context.Context, Notification) error {
	return func(ctx context.Context, n Notification) error {
		raw, err := json.Marshal(n)
		if err != nil {
			return err
		}
		return post(ctx, url, token, http.Header{"Content-Type": {"application/json"}}, raw)
	}
}

func post(ctx context.Context, url, token string, header http.Header, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("post notification: %w", err)
	}
	request.Header = header
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return fmt.Errorf("post notification: %w", err)
	}
	defer func() { _ = response.Body.Close() }()                         // only read
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)) // so that the connection can be used again
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("post notification: the server answers %d", response.StatusCode)
	}
	return nil
}

// Mail is a mailbox and the server that takes mail for it.
type Mail struct {
	// Server is host:port. The connection is encrypted with STARTTLS where the server
	// offers it, and a password is sent only over such a one, or to this machine.
	Server, User, Password string
	From, To               string
}

// Send sends a mail.
func (m Mail) Send(ctx context.Context, n Notification) error {
	host, _, err := net.SplitHostPort(m.Server)
	if err != nil {
		return fmt.Errorf("send mail: %w", err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.Server)
	if err != nil {
		return fmt.Errorf("send mail: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // the library knows no contexts
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return fmt.Errorf("send mail: %w", err)
		}
	}
	client, err := smtp.NewClient(conn, host)
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("send mail: %w", err)
	}
	defer func() { _ = client.Close() }() // after Quit it is closed
	if err := m.transact(client, host, n); err != nil {
		return fmt.Errorf("send mail: %w", err)
	}
	return nil
}

func (m Mail) transact(client *smtp.Client, host string, n Notification) error {
	if can, _ := client.Extension("STARTTLS"); can {
		if err := client.StartTLS(tlsFor(host)); err != nil {
			return err
		}
	}
	if m.User != "" {
		if err := client.Auth(smtp.PlainAuth("", m.User, m.Password, host)); err != nil {
			return err
		}
	}
	if err := client.Mail(m.From); err != nil {
		return err
	}
	if err := client.Rcpt(m.To); err != nil {
		return err
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(m.message(n)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return client.Quit()
}

// message is the mail: its text in base64, so that no line of it means anything to the
// server.
func (m Mail) message(n Notification) []byte {
	var b bytes.Buffer
	for _, field := range [][2]string{
		{"From", m.From},
		{"To", m.To},
		{"Subject", mime.QEncoding.Encode("utf-8", n.Title)},
		{"Date", time.Now().Format(time.RFC1123Z)},
		{"Auto-Submitted", "auto-generated"},
		{"Mime-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "base64"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", field[0], textproto.TrimString(strings.NewReplacer("\r", "", "\n", "").Replace(field[1])))
	}
	b.WriteString("\r\n")
	text := base64.StdEncoding.EncodeToString([]byte(n.Title + "\n\n" + n.Text + "\n"))
	for len(text) > 0 {
		line := text[:min(76, len(text))]
		text = text[len(line):]
		b.WriteString(line + "\r\n")
	}
	return b.Bytes()
}

// Command returns a sender that runs a program, without a shell, with the notification as
// JSON on its standard input.
func Command(argv []string) func(context.Context, Notification) error {
	return func(ctx context.Context, n Notification) error {
		raw, err := json.Marshal(n)
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdin = bytes.NewReader(append(raw, '\n'))
		cmd.WaitDelay = time.Second
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("run %s: %w", argv[0], err)
		}
		return nil
	}
}

// tlsFor checks the certificate of a server against its name.
func tlsFor(host string) *tls.Config {
	return &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
}
