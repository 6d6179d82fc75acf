// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"

	"github.com/danielgtaylor/huma/v2"
)

// The part of the API for those who watch the node.

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
