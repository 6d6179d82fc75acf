// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/store"
)

// Health is what a check of the store has found.
type Health struct {
	// Problems are sentences; there are none when all is well, and at most 100.
	Problems []string `json:"problems"`
}

func (s *service) check(context.Context, *struct{}) (*body[Health], error) {
	problems, err := s.node.Check()
	if err != nil {
		return nil, problem(err)
	}
	return &body[Health]{Health{append([]string{}, problems...)}}, nil
}

// BackupRequest says what is to be in a backup.
type BackupRequest struct {
	WithoutHosted bool `query:"without_hosted" doc:"Leave out what others have put on this file server"`
}

const (
	// LeftTrailer follows a backup: a JSON list of what is not in it.
	LeftTrailer = "Mimird-Left-Out"
	// DamagedType is the type of a problem that is store.ErrCorrupt.
	DamagedType = "urn:mimird:damaged"
)

// backup streams a backup, unencrypted: it does not leave this machine. When it
// fails in the middle the answer is cut off, which the client sees.
func (s *service) backup(_ context.Context, in *BackupRequest) (*huma.StreamResponse, error) {
	if s.opts.Backup == nil {
		return nil, huma.Error501NotImplemented("this process makes no backups")
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", "application/zstd")
		w := &counted{w: c.BodyWriter()}
		left, err := s.opts.Backup(c.Context(), s.node, w, *in)
		switch {
		case err == nil:
			raw, _ := json.Marshal(left) // strings always marshal
			c.SetHeader(http.TrailerPrefix+LeftTrailer, url.QueryEscape(string(raw)))
		case w.n == 0:
			model := huma.ErrorModel{Title: "Internal Server Error", Status: http.StatusInternalServerError, Detail: err.Error()}
			if errors.Is(err, store.ErrCorrupt) {
				model.Type = DamagedType
			}
			answer, _ := json.Marshal(model)
			c.SetHeader("Content-Type", "application/problem+json")
			c.SetStatus(http.StatusInternalServerError)
			_, _ = c.BodyWriter().Write(answer) // the client may be gone
		default:
			panic(http.ErrAbortHandler) // the only way to end an answer as incomplete
		}
	}}, nil
}

// counted knows whether anything was written.
type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// Actors are the counters of all actors of one kind.
type Actors struct {
	Kind     string  `json:"kind" doc:"See docs/architecture.md, supervision tree"`
	Live     int     `json:"live" doc:"That exist now"`
	Failures uint64  `json:"failures" doc:"Since the start, each followed by a restart or the end of the actor"`
	Restarts uint64  `json:"restarts"`
	Messages uint64  `json:"messages" doc:"Handled since the start"`
	Waiting  int     `json:"waiting" doc:"Messages in all mailboxes now"`
	MaxDepth int     `json:"max_depth" doc:"The most that ever waited in one mailbox"`
	Busy     float64 `json:"busy_seconds" doc:"Time spent handling messages"`
}

func (s *service) registerWatch(api huma.API) {
	huma.Get(api, "/v1/actors", func(ctx context.Context, _ *struct{}) (*body[[]Actors], error) {
		stats, err := inside{s}.Actors(ctx)
		return &body[[]Actors]{stats}, err
	})
}

// inside asks the node in this process.
type inside struct{ s *service }

// Status implements [Ask].
func (i inside) Status(ctx context.Context) (Status, error) {
	answer, err := i.s.status(ctx, nil)
	if err != nil {
		return Status{}, err
	}
	return answer.Body, nil
}

// Actors implements [Ask].
func (i inside) Actors(context.Context) ([]Actors, error) {
	out := []Actors{}
	for _, k := range i.s.node.ActorStats() {
		out = append(out, Actors{
			Kind: k.Kind, Live: k.Live, Failures: k.Failures, Restarts: k.Restarts, Messages: k.Messages, Waiting: k.Depth,
			MaxDepth: k.DepthMax, Busy: k.Busy.Seconds(),
		})
	}
	return out, nil
}
