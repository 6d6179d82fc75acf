// SPDX-License-Identifier: MPL-2.0

// Package watch tells machines how a node is: metrics in the format of Prometheus, and
// whether it is alive and ready. It reads the status of the node and nothing else. The
// program serves it on the control socket and, where the configuration says so, over TCP;
// nothing of it names a person: no key, name or address of an account or contact is a
// label.
//
// Start reading at [NewCollector].
package watch

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/mimird/mimird/actors/backup/schedule"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/notify"
	"github.com/mimird/mimird/bridge"
)

// scrapeTime is how long the node may take to answer a scrape.
const scrapeTime = 8 * time.Second

// matrixPart is the name of the bridge among the parts of a status.
const matrixPart = "matrix"

// Metric is one of the metrics, for the documentation.
type Metric struct {
	Name   string
	Type   string // gauge or counter
	Help   string
	Labels []string
}

// metric is a metric and how it is read from a status. emit is called once for each
// combination of labels.
type metric struct {
	Metric
	read func(s sample, emit func(value float64, labels ...string))
}

// sample is what one scrape has seen.
type sample struct {
	status  control.Status
	actors  []control.Actors
	bridge  *bridge.Status   // nil without one
	backups *schedule.Status // nil without a target
	now     time.Time
}

func gauge(name, help string, read func(s sample, emit func(float64, ...string)), labels ...string) metric {
	return metric{Metric{"mimird_" + name, "gauge", help, labels}, read}
}

func counter(name, help string, read func(s sample, emit func(float64, ...string)), labels ...string) metric {
	return metric{Metric{"mimird_" + name, "counter", help, labels}, read}
}

// one reads a value that is always there.
func one(read func(s sample) float64) func(sample, func(float64, ...string)) {
	return func(s sample, emit func(float64, ...string)) { emit(read(s)) }
}

// ofBridge reads a value that is there with the role matrix.
func ofBridge(read func(b bridge.Status) float64) func(sample, func(float64, ...string)) {
	return func(s sample, emit func(float64, ...string)) {
		if s.bridge != nil {
			emit(read(*s.bridge))
		}
	}
}

// eachKind reads a value of each kind of actor.
func eachKind(read func(control.Actors) float64) func(sample, func(float64, ...string)) {
	return func(s sample, emit func(float64, ...string)) {
		for _, k := range s.actors {
			emit(read(k), k.Kind)
		}
	}
}

// ofBackups reads a value that is there when the node makes backups by itself.
func ofBackups(read func(b schedule.Status) float64) func(sample, func(float64, ...string)) {
	return func(s sample, emit func(float64, ...string)) {
		if s.backups != nil {
			emit(read(*s.backups))
		}
	}
}

// ofSinks sums a value of the sinks of notifications, when there are any.
func ofSinks(read func(notify.SinkStatus) float64) func(sample, func(float64, ...string)) {
	return func(s sample, emit func(float64, ...string)) {
		var status notify.Status
		if raw, has := s.status.Parts[notify.PartName]; !has || json.Unmarshal(raw, &status) != nil {
			return
		}
		sum := 0.0
		for _, sink := range status.Sinks {
			sum += read(sink)
		}
		emit(sum)
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// metrics are all of them.
func metrics() []metric {
	return []metric{
		gauge("build_info", "The version that runs; always 1.", func(s sample, emit func(float64, ...string)) { emit(1, s.status.Version) }, "version"),
		gauge("yggdrasil_peers", "Links to Yggdrasil peers, by state.", func(s sample, emit func(float64, ...string)) {
			up := 0
			for _, p := range s.status.Overlay.Peers {
				up += int(flag(p.Up))
			}
			emit(float64(up), "up")
			emit(float64(len(s.status.Overlay.Peers)-up), "down")
		}, "state"),
		gauge("yggdrasil_link_received_bytes", "Bytes received over the links that are up now.", one(func(s sample) float64 {
			sum := 0.0
			for _, p := range s.status.Overlay.Peers {
				sum += float64(p.RX)
			}
			return sum
		})),
		gauge("yggdrasil_link_sent_bytes", "Bytes sent over the links that are up now.", one(func(s sample) float64 {
			sum := 0.0
			for _, p := range s.status.Overlay.Peers {
				sum += float64(p.TX)
			}
			return sum
		})),
		gauge("yggdrasil_best_latency_seconds", "Latency of the quickest link that is up.", func(s sample, emit func(float64, ...string)) {
			best := -1.0
			for _, p := range s.status.Overlay.Peers {
				if p.Up && (best < 0 || p.LatencyMS < best) {
					best = p.LatencyMS
				}
			}
			if best >= 0 {
				emit(best / 1000)
			}
		}),
		gauge("trackers", "Trackers of the configuration, by state.", func(s sample, emit func(float64, ...string)) {
			answering := 0
			for _, t := range s.status.Trackers {
				answering += int(flag(t.Answers))
			}
			emit(float64(answering), "answering")
			emit(float64(len(s.status.Trackers)-answering), "silent")
		}, "state"),
		gauge("trackers_announced", "Trackers that have an announcement of this node which has not expired.", one(func(s sample) float64 {
			n := 0.0
			for _, t := range s.status.Trackers {
				n += flag(t.Announced.After(s.now))
			}
			return n
		})),
		gauge("mediators", "Connections of accounts to mediators, by state.", func(s sample, emit func(float64, ...string)) {
			connected := 0
			for _, m := range s.status.Mediators {
				connected += int(flag(m.Connected))
			}
			emit(float64(connected), "connected")
			emit(float64(len(s.status.Mediators)-connected), "unreachable")
		}, "state"),
		counter("missed_invites_total", "Invites to groups that were not stored.", one(func(s sample) float64 { return float64(s.status.MissedInvites) })),
		gauge("sessions", "Contacts connected now.", one(func(s sample) float64 { return float64(s.status.Sessions) })),
		gauge("accounts", "Accounts of this node.", one(func(s sample) float64 { return float64(len(s.status.Accounts)) })),
		gauge("undelivered_messages", "Messages in all outboxes.", one(func(s sample) float64 {
			sum := 0.0
			for _, a := range s.status.Accounts {
				sum += float64(a.Waiting)
			}
			return sum
		})),
		gauge("undelivered_oldest_seconds", "Age of the oldest undelivered message; 0 without one.", one(func(s sample) float64 {
			oldest := 0.0
			for _, u := range s.status.Undelivered {
				if !u.Since.IsZero() {
					oldest = max(oldest, s.now.Sub(u.Since).Seconds())
				}
			}
			return oldest
		})),
		gauge("undelivered_conversations", "Conversations with undelivered messages, by reason, at most 100.", func(s sample, emit func(float64, ...string)) {
			by := map[string]float64{}
			for _, u := range s.status.Undelivered {
				by[u.Code]++
			}
			for code, n := range by {
				emit(n, code)
			}
		}, "code"),
		gauge("media_used_bytes", "Space that the files of messages take.", func(s sample, emit func(float64, ...string)) {
			if s.status.Media != nil {
				emit(float64(s.status.Media.Used))
			}
		}),
		gauge("media_quota_bytes", "Space that the files of messages may take.", func(s sample, emit func(float64, ...string)) {
			if s.status.Media != nil {
				emit(float64(s.status.Media.Quota))
			}
		}),
		gauge("disk_low", "1 while nothing new is taken in because the disk is nearly full.", one(func(s sample) float64 { return flag(s.status.DiskLow) })),
		gauge("warnings", "Warnings that mimird status shows, by code.", func(s sample, emit func(float64, ...string)) {
			by := map[string]float64{}
			for _, w := range s.status.Warnings {
				by[w.Code]++
			}
			for code, n := range by {
				emit(n, code)
			}
		}, "code"),
		gauge("role", "The servers that this process is; always 1.", func(s sample, emit func(float64, ...string)) {
			if s.status.Role != nil {
				emit(1, "tracker")
			}
			if s.status.FilesRole != nil {
				emit(1, "files")
			}
			if s.status.MediatorRole != nil {
				emit(1, "mediator")
			}
		}, "role"),
		gauge("mediator_groups", "Groups that this mediator keeps.", func(s sample, emit func(float64, ...string)) {
			if s.status.MediatorRole != nil {
				emit(float64(s.status.MediatorRole.Groups))
			}
		}),
		gauge("mediator_used_bytes", "Space that the groups of this mediator take.", func(s sample, emit func(float64, ...string)) {
			if s.status.MediatorRole != nil {
				emit(float64(s.status.MediatorRole.Bytes))
			}
		}),
		counter("stray_reactions_total", "Reactions to messages that the conversation does not have.", one(func(s sample) float64 { return float64(s.status.StrayReactions) })),
		counter("unencodable_events_total", "Events that could not be sent to followers of the log; above 0 is a defect.", one(func(s sample) float64 { return float64(s.status.UnencodableEvents) })),
		gauge("actors", "Actors that exist now, by kind.", eachKind(func(k control.Actors) float64 { return float64(k.Live) }), "kind"),
		counter("actor_failures_total", "Actors that failed and were restarted or given up, by kind.", eachKind(func(k control.Actors) float64 { return float64(k.Failures) }), "kind"),
		counter("actor_messages_total", "Messages that actors have handled, by kind.", eachKind(func(k control.Actors) float64 { return float64(k.Messages) }), "kind"),
		gauge("actor_waiting_messages", "Messages in mailboxes now, by kind.", eachKind(func(k control.Actors) float64 { return float64(k.Waiting) }), "kind"),
		counter("actor_busy_seconds_total", "Time that actors spent handling messages, by kind.", eachKind(func(k control.Actors) float64 { return k.Busy }), "kind"),
		gauge("backup_last_good_timestamp_seconds", "When the last good backup was begun; 0 without one.", ofBackups(func(b schedule.Status) float64 {
			if b.LastGood == nil {
				return 0
			}
			return float64(b.LastGood.Time.Unix())
		})),
		gauge("backup_size_bytes", "Size of the last good backup.", ofBackups(func(b schedule.Status) float64 {
			if b.LastGood == nil {
				return 0
			}
			return float64(b.LastGood.Bytes)
		})),
		gauge("backup_failed_attempts", "Attempts that failed since the last good backup.", ofBackups(func(b schedule.Status) float64 { return float64(b.Failures) })),
		gauge("backup_too_old", "1 while the last good backup is older than backup.too_old.", ofBackups(func(b schedule.Status) float64 { return flag(b.TooOld) })),
		counter("notifications_sent_total", "Notifications sent, by all sinks.", ofSinks(func(n notify.SinkStatus) float64 { return float64(n.Sent) })),
		counter("notifications_dropped_total", "Events that sinks could not tell for a day.", ofSinks(func(n notify.SinkStatus) float64 { return float64(n.Dropped) })),
		gauge("notifications_failing_sinks", "Sinks whose last attempt has failed.", ofSinks(func(n notify.SinkStatus) float64 { return flag(n.Failures > 0) })),
		gauge("bridge_running", "1 while the Matrix bridge runs.", ofBridge(func(b bridge.Status) float64 {
			return flag(b.State == bridge.StateRunning || b.State == bridge.StateDegraded)
		})),
		gauge("bridge_reachable", "1 while requests get through, by direction.", func(s sample, emit func(float64, ...string)) {
			if s.bridge != nil {
				emit(flag(s.bridge.Homeserver.OK), "to_homeserver")
				emit(flag(s.bridge.Listener.OK), "from_homeserver")
			}
		}, "direction"),
		gauge("bridge_logins", "Accounts that Matrix users use.", ofBridge(func(b bridge.Status) float64 { return float64(b.Logins) })),
		gauge("bridge_waiting_conversations", "Conversations with events that are not in their rooms yet.", ofBridge(func(b bridge.Status) float64 { return float64(b.Conversations) })),
		gauge("bridge_stuck_conversations", "Of those, the ones whose delivery has failed, at most 100.", ofBridge(func(b bridge.Status) float64 {
			n := 0.0
			for _, w := range b.Waiting {
				n += flag(w.Error != "")
			}
			return n
		})),
		gauge("bridge_journal_events", "Matrix events that are stored and not handled yet.", ofBridge(func(b bridge.Status) float64 { return float64(b.Transactions) })),
	}
}

// Metrics describes all metrics of this package, in their order.
func Metrics() []Metric {
	var out []Metric
	for _, m := range metrics() {
		out = append(out, m.Metric)
	}
	return out
}

// Collector reads the metrics of a node.
type Collector struct {
	ask     control.Ask
	metrics []metric
	descs   []*prometheus.Desc
}

// NewCollector returns a collector that asks a node at each scrape. It is safe for
// concurrent use.
func NewCollector(ask control.Ask) *Collector {
	c := &Collector{ask: ask, metrics: metrics()}
	for _, m := range c.metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.Name, m.Help, m.Labels, nil))
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector. A node that does not answer makes the scrape
// fail.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
	defer cancel()
	s := sample{now: time.Now()}
	var err error
	if s.status, err = c.ask.Status(ctx); err == nil {
		s.actors, err = c.ask.Actors(ctx)
	}
	if err != nil {
		out <- prometheus.NewInvalidMetric(c.descs[0], err)
		return
	}
	s.bridge = bridgeOf(s.status)
	s.backups = schedule.ParseStatus(s.status.Parts[schedule.PartName])
	for i, m := range c.metrics {
		kind := prometheus.GaugeValue
		if m.Type == "counter" {
			kind = prometheus.CounterValue
		}
		m.read(s, func(value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(c.descs[i], kind, value, labels...)
		})
	}
}

// bridgeOf reads the status of the bridge, nil when there is none, or it does not answer.
func bridgeOf(s control.Status) *bridge.Status {
	var b bridge.Status
	if raw, has := s.Parts[matrixPart]; !has || json.Unmarshal(raw, &b) != nil || b.State == "" {
		return nil
	}
	return &b
}

// Handler serves the metrics of a node, of the Go runtime and of the process.
func Handler(ask control.Ask) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(ask), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// oneLine makes one line of a text.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
