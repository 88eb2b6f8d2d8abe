package overlay

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/link"
)

// meters is what the node counts itself; the rest is read when somebody scrapes. The registry is the node's own: two
// nodes of one process do not mix.
type meters struct {
	handler http.Handler
	find    *prometheus.HistogramVec
	rtt     prometheus.Histogram
	failed  *prometheus.CounterVec
}

func newMeters(n *Node) (*meters, error) {
	m := &meters{
		find: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cell_find_duration_seconds", Help: "How long a way of finding took.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"source", "result"}),
		rtt: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "cell_probe_rtt_seconds", Help: "Round trip of probes of instances for clients.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 8),
		}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cell_probe_failures_total", Help: "Probes of instances for clients that failed.",
		}, []string{"reason"}),
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		m.find, m.rtt, m.failed, scrape{n}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	m.handler = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	return m, nil
}

// ways measures how long each way takes.
func (m *meters) ways(ways []find.Way) []find.Way {
	for n, w := range ways {
		ways[n].Run = func(ctx context.Context, sink find.Sink) error {
			begun := time.Now()
			err := w.Run(ctx, sink)
			result := "ok"
			switch {
			case ctx.Err() != nil:
				result = "ended"
			case err != nil:
				result = "failed"
			}
			m.find.WithLabelValues(w.Name, result).Observe(time.Since(begun).Seconds())
			return err
		}
	}
	return ways
}

// dialer measures probes.
func (m *meters) dialer(d *link.Dialer) find.Dialer { return meteredDialer{d, m} }

type meteredDialer struct {
	*link.Dialer
	m *meters
}

// Probe implements find.Dialer.
func (d meteredDialer) Probe(ctx context.Context, to link.Target, h link.Hello) (link.Probe, error) {
	p, err := d.Dialer.Probe(ctx, to, h)
	var refused *link.Refused
	switch {
	case err == nil:
		d.m.rtt.Observe(p.RTT.Seconds())
	case errors.As(err, &refused):
		d.m.failed.WithLabelValues(refused.Code.String()).Inc()
	case errors.Is(err, context.DeadlineExceeded):
		d.m.failed.WithLabelValues("timeout").Inc()
	case ctx.Err() == nil:
		d.m.failed.WithLabelValues("unreachable").Inc()
	}
	return p, err
}

// scrape reads the node when it is asked.
type scrape struct{ n *Node }

var (
	descBuildInfo   = desc("build_info", "Always 1.", "version", "go")
	descInstances   = desc("instances", "Members of a cell that the node serves, by the state that they declare.", "cell", "state")
	descSuspects    = desc("suspects", "Members that failed a probe and are not certified dead.", "cell")
	descHealth      = desc("health_score", "Lifeguard's local health: 0 is well.", "cell")
	descMessages    = desc("gossip_messages_total", "Gossip frames.", "cell", "kind", "dir")
	descTraffic     = desc("gossip_bytes_total", "Gossip frames in bytes, without the transport's own.", "cell", "kind", "dir")
	descReplicas    = desc("announce_replicas", "Nodes that took the last announcement.", "cell")
	descAnnounceAt  = desc("announce_last_success_timestamp_seconds", "When the last announcement reached somebody.", "cell")
	descPrunes      = desc("prune_total", "Members taken off the list.", "cell", "reason")
	descFalsePrunes = desc("false_prune_total", "Members that came back as the same incarnation after they had been certified dead.", "cell")
	descRefuted     = desc("suspicions_refuted_total", "Suspects that proved to be alive.", "cell")
	descConns       = desc("conns", "Open connections of clients to instances of this node.", "cell")
	descTurned      = desc("turned_away_total", "Clients turned away: at a limit, without a Hello in time, or in the handshake.", "reason")
	descTable       = desc("dht_peers", "Nodes in the routing table.")
	descNetwork     = desc("dht_network_size", "Estimated number of nodes in the DHT.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("cell_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (s scrape) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descBuildInfo, descInstances, descSuspects, descHealth, descMessages, descTraffic, descReplicas, descAnnounceAt, descPrunes, descFalsePrunes, descRefuted, descConns, descTurned, descTable, descNetwork,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s scrape) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(descBuildInfo, 1, Version(), runtime.Version())
	if s.n.dht != nil {
		gauge(descTable, float64(s.n.dht.Size()))
		gauge(descNetwork, float64(s.n.dht.NetworkSize()))
	}
	for reason, n := range s.n.server.TurnedAway() {
		count(descTurned, uint64(n), reason)
	}
	for _, i := range s.n.instances() {
		i.collect(gauge, count)
	}
	for t, n := range s.n.events.counts() {
		switch t.kind {
		case gossip.Dead.String(), gossip.Left.String(), gossip.Expired.String(), gossip.Revoked.String():
			count(descPrunes, n, t.cell, t.kind)
		case gossip.Refuted.String():
			count(descRefuted, n, t.cell)
		case kindFalse:
			count(descFalsePrunes, n, t.cell)
		}
	}
}

func (i *Instance) collect(gauge func(*prometheus.Desc, float64, ...string), count func(*prometheus.Desc, uint64, ...string)) {
	cell := i.service.Cell.String()
	states := map[string]int{}
	suspected := 0
	for _, m := range i.gossip.Members() {
		states[m.Record.State.String()]++
		if m.Status == gossip.Suspect {
			suspected++
		}
	}
	for state, n := range states {
		gauge(descInstances, float64(n), cell, state)
	}
	gauge(descSuspects, float64(suspected), cell)
	gauge(descHealth, float64(i.gossip.Health()), cell)
	gauge(descConns, float64(i.open.value()), cell)
	t := i.gossip.Traffic()
	for dir, kinds := range map[string]map[string]gossip.Count{"sent": t.Sent, "received": t.Received} {
		for kind, c := range kinds {
			count(descMessages, c.Frames, cell, kind, dir)
			count(descTraffic, c.Bytes, cell, kind, dir)
		}
	}
	if i.announcer == nil {
		return
	}
	if last := i.announcer.Status().Last; !last.At.IsZero() {
		gauge(descReplicas, float64(last.Replicas), cell)
		gauge(descAnnounceAt, float64(last.At.Unix()), cell)
	}
}
