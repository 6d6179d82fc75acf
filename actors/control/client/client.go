// SPDX-License-Identifier: MPL-2.0

package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/store"
)

// ErrNotRunning says that nobody listens on the control socket.
var ErrNotRunning = errors.New("the node is not running")

const (
	// maxAnswer bounds an answer: a full page of messages.
	maxAnswer = 64 << 20
	// maxEventLine bounds one event, which carries one message: JSON makes up to six
	// bytes of one of its 1 MiB.
	maxEventLine = 8 << 20
)

// Client talks to a running node. It is safe for concurrent use.
type Client struct{ http *http.Client }

// New returns a client for a socket. It does not connect.
func New(socket string) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
				return nil, ErrNotRunning
			}
			if errors.Is(err, fs.ErrPermission) {
				err = fmt.Errorf("%w; only the user who runs the node may", err)
			}
			return conn, err
		},
	}}}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the state of the node.
func (c *Client) Status(ctx context.Context) (control.Status, error) {
	return get[control.Status](ctx, c, "/v1/status")
}

// Actors returns the counters of the node's actors, by kind.
func (c *Client) Actors(ctx context.Context) ([]control.Actors, error) {
	return get[[]control.Actors](ctx, c, "/v1/actors")
}

// Follow calls handle for each event of an account after a sequence number, or from now
// on when after is -1, until ctx ends, handle returns an error, or the node stops
// ([ErrNotRunning]). handle may take its time: the node drops a follower that reads
// nothing for a day while there is more than the connection buffers, as if the node had
// stopped.
func (c *Client) Follow(ctx context.Context, account string, after int64, handle func(control.Event) error) error {
	return c.follow(ctx, account, after, "", handle, nil)
}

// FollowLive is Follow, and calls changed with what is different from before and in no log:
// who comes and goes, and how the node is.
func (c *Client) FollowLive(ctx context.Context, account string, after int64, handle func(control.Event) error, changed func(control.Change) error) error {
	return c.follow(ctx, account, after, "&changes=true", handle, changed)
}

func (c *Client) follow(ctx context.Context, account string, after int64, more string, handle func(control.Event) error, changed func(control.Change) error) error {
	resp, err := c.do(ctx, http.MethodGet, accountURL(account, "events")+"?after="+strconv.FormatInt(after, 10)+more, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewReaderSize(resp.Body, 64<<10)
	var line []byte
	var name string // of the event that is being read
	for {
		if line, err = nextLine(lines, line); err != nil {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
			name = string(value)
			continue
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		switch {
		case !ok: // id, a comment, the blank line between events
			err = nil
		case name == "change":
			err = decode(data, changed)
		default:
			err = decode(data, handle)
		}
		if err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("read event: %w", err)
	}
	return ErrNotRunning // however the connection has ended
}

// decode passes on what an event of a stream has.
func decode[T any](data []byte, handle func(T) error) error {
	var value T
	if err := json.Unmarshal(data, &value); err != nil {
		return fmt.Errorf("read event: %w", err)
	}
	return handle(value)
}

// nextLine returns the next whole line, without its end, in the memory of the one
// before. What follows the last line end of a stream that was cut off is discarded.
func nextLine(r *bufio.Reader, line []byte) ([]byte, error) {
	line = line[:0]
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > maxEventLine {
			return nil, bufio.ErrTooLong
		}
		line = append(line, part...)
		if err == nil {
			return line[:len(line)-1], nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}

func accountURL(account string, rest ...string) string {
	parts := []string{"/v1/accounts", segment(account)}
	for _, part := range rest {
		parts = append(parts, segment(part))
	}
	return strings.Join(parts, "/")
}

// segment makes one segment of a path of anything that is not empty.
func segment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E") // else the server goes up with it
	}
	return url.PathEscape(s)
}

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	return call[T](ctx, c, http.MethodGet, path, nil)
}

func post[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	return send[T](ctx, c, http.MethodPost, path, body)
}

// remove deletes what a path names.
func (c *Client) remove(ctx context.Context, path string) error {
	resp, err := c.do(ctx, http.MethodDelete, path, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func send[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	raw, err := encodeBody(body)
	if err != nil {
		var none T
		return none, err
	}
	return call[T](ctx, c, method, path, raw)
}

// encodeBody writes the body of a request; nil for none.
func encodeBody(body any) ([]byte, error) {
	if body == nil {
		return nil, nil
	}
	var raw bytes.Buffer
	encoder := json.NewEncoder(&raw)
	encoder.SetEscapeHTML(false) // a text of brackets would become six times as long
	if err := encoder.Encode(body); err != nil {
		return nil, fmt.Errorf("write request: %w", err)
	}
	return raw.Bytes(), nil
}

func call[T any](ctx context.Context, c *Client, method, path string, body []byte) (T, error) {
	var answer T
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&answer); err != nil {
		return answer, fmt.Errorf("read answer: %w", err)
	}
	return answer, nil
}

// do sends a request and returns a good answer, whose body the caller closes.
func (c *Client) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	return c.stream(ctx, method, path, "application/json", bytes.NewReader(body))
}

// stream is do for a body that is not in memory.
func (c *Client) stream(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://mimird"+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	return c.ask(req)
}

// ask sends a request and returns a good answer, whose body the caller closes.
func (c *Client) ask(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if errors.Is(err, ErrNotRunning) {
		return nil, ErrNotRunning
	}
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // what was asked is nothing to a person
	}
	if err != nil {
		return nil, fmt.Errorf("ask the node: %w", err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problemOf(resp)
}

// Error is a refusal of the node.
type Error struct {
	Status  int    // HTTP status
	Text    string // one sentence
	damaged bool   // the store is damaged
}

// Error returns the sentence.
func (e *Error) Error() string { return e.Text }

// Unwrap returns store.ErrCorrupt when the node says that its store is damaged.
func (e *Error) Unwrap() error {
	if e.damaged {
		return store.ErrCorrupt
	}
	return nil
}

func problemOf(resp *http.Response) error {
	var p struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&p); err != nil || p.Title == "" {
		return &Error{Status: resp.StatusCode, Text: "the node answered " + resp.Status}
	}
	if len(p.Errors) == 0 {
		return &Error{Status: resp.StatusCode, Text: p.Detail, damaged: p.Type == control.DamagedType}
	}
	var text []string
	for _, e := range p.Errors {
		text = append(text, strings.TrimPrefix(e.Location, "body.")+": "+e.Message)
	}
	return &Error{Status: resp.StatusCode, Text: "the node refuses this: " + strings.Join(text, "; ")}
}
