package main

import (
	"context"
	"maps"
	"slices"
	"time"
)

// contender is one detector with one profile.
type contender struct {
	// Name stands in results, tables and on the command line.
	Name string
	// Slow marks a detection of about a minute: fewer kills, more of them at once, no large cells.
	Slow bool
	// start runs a member, which knows nobody yet, on the lab's wire. It tells the census what it learns.
	start func(ctx context.Context, l *lab, number int) (member, error)
}

// member is one running member. All members of a process are of one contender.
type member interface {
	// id names it in the census.
	id() string
	// join makes it known to a member and to all those that this one knows. It may return before that is done.
	join(ctx context.Context, through member) error
	// silence cuts its power: not one more packet of it is seen, and none reaches it.
	silence()
	// stop ends it without a goodbye.
	stop() error
	// cost says what it takes of the machine and the network, beside what the process shows as a whole.
	cost() cost
}

// cost is what only the member itself can count.
type cost struct {
	conns         int    // connections that it keeps
	frames, bytes uint64 // of the detector's own, sent; zero where all that is sent is its own
}

// lab is what the members of a process share.
type lab struct {
	wire   wire
	census *census
}

var contenders = map[string]contender{
	"cellnode":         {Name: "cellnode", start: startCellnode},
	"memberlist-lan":   {Name: "memberlist-lan", start: startMemberlist(lanConfig)},
	"memberlist-tuned": {Name: "memberlist-tuned", start: startMemberlist(tunedConfig)},
	"memberlist-wan":   {Name: "memberlist-wan", Slow: true, start: startMemberlist(wanConfig)},
}

// contenderNames are in the order of the table.
func contenderNames() []string { return slices.Sorted(maps.Keys(contenders)) }

// course is how long each part of a row takes.
type course struct {
	settle, idle time.Duration // from all know all until links of the beginning are put down; then, until the kills
	kills        int
	together     int           // how many may be dead and not yet known to be
	pauseMin     time.Duration // between two kills; up to twice that
	patience     time.Duration // for one join of all, one newcomer, one death
}

// courseOf is the same for all contenders but for the slow one, whose row would take an hour.
func courseOf(r Row) course {
	c := course{
		settle: 45 * time.Second, idle: time.Minute, kills: 20, together: max(2, r.Members/8), pauseMin: time.Second,
		patience: 90 * time.Second,
	}
	if r.Loss > 0 {
		c.kills = 10
	}
	if contenders[r.Contender].Slow {
		c.kills, c.together = 5, max(2, r.Members/4)
	}
	return c
}
