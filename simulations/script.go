package simulations

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cellnode/cellnode/gossip"
)

// Script plays a World by lines of text, each a command. It makes scenarios that a reader can follow, and whose output
// is compared as a whole: any change of the detector's behaviour shows.
//
//	start N            begin a cell of N nodes and let it settle; 50 ms links
//	add [N…]           start one more node, or these that have ended
//	run 10s            let time pass
//	crash, stop, leave N…   end nodes: without a word, closing streams, saying goodbye
//	pause 1s N…        make nodes stand still
//	loss 5             percent of packets, from now on
//	cut A-B from C-D   nothing from the first nodes reaches the second ones; "and" for "from" cuts both ways
//	heal               end all cuts
//	liars N…           make liars of nodes; accuse N lets them accuse one
//	gone N             let time pass until nobody lists a node, and say how long that took
//	agree              let time pass until all list each other, and say how long that took
//	status             say who lists whom
type Script struct {
	w     *World
	cuts  []func(a, b *Node) bool
	liars *Liars
}

// NewScript returns a Script that plays a World with this seed.
func NewScript(seed uint64) *Script {
	s := &Script{w: NewWorld(seed, gossip.WAN())}
	s.w.Links(50 * time.Millisecond)
	s.w.Cut = func(a, b *Node) bool {
		return slices.ContainsFunc(s.cuts, func(cut func(a, b *Node) bool) bool { return cut(a, b) })
	}
	return s
}

// waitFor is how long gone and agree wait.
const waitFor = 2 * time.Minute

// Do plays one line and returns what it has to say.
func (s *Script) Do(line string) (string, error) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return "", nil
	}
	args := words[1:]
	switch words[0] {
	case "run":
		return "", s.lasting(args, func(d time.Duration, _ []*Node) { s.w.Run(d) })
	case "pause":
		return "", s.lasting(args, func(d time.Duration, nodes []*Node) { each(nodes, func(n *Node) { n.Pause(d) }) })
	case "cut":
		return "", s.cut(args)
	case "heal":
		s.cuts = nil
		return "", nil
	case "status":
		return s.status(), nil
	case "agree":
		from := s.w.now
		if err := s.w.Agree(waitFor); err != nil {
			return err.Error() + "\n", nil
		}
		return fmt.Sprintf("all agree after %s\n", round(s.w.now.Sub(from))), nil
	case "start", "loss":
		return s.number(words[0], args)
	}
	nodes, err := s.nodes(args)
	if err != nil {
		return "", err
	}
	return s.act(words[0], nodes)
}

func (s *Script) number(command string, args []string) (string, error) {
	if len(args) != 1 {
		return "", fmt.Errorf("simulations: %s takes one number", command)
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return "", fmt.Errorf("simulations: %s: %w", command, err)
	}
	if command == "loss" {
		s.w.Loss = float64(n) / 100
		return "", nil
	}
	if err := s.w.Settle(n); err != nil {
		return "", err
	}
	return s.status(), nil
}

// act does what takes nodes alone.
func (s *Script) act(command string, nodes []*Node) (string, error) {
	switch command {
	case "add":
		if len(nodes) == 0 {
			nodes = append(nodes, s.w.Add())
		}
		each(nodes, func(n *Node) { n.Start(s.w.nodes[(n.Index+1)%len(s.w.nodes)]) })
	case "crash":
		each(nodes, (*Node).Crash)
	case "stop":
		each(nodes, (*Node).Stop)
	case "leave":
		each(nodes, (*Node).Leave)
	case "liars":
		s.liars = s.w.Turn(nodes...)
	case "accuse":
		if s.liars == nil {
			return "", fmt.Errorf("simulations: accuse: there are no liars yet")
		}
		each(nodes, s.liars.Accuse)
	case "gone":
		var out strings.Builder
		for _, n := range nodes {
			took, err := s.w.Gone(n, waitFor)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&out, "node %d is gone everywhere after %s\n", n.Index, round(took))
		}
		return out.String(), nil
	default:
		return "", fmt.Errorf("simulations: no command %q", command)
	}
	return "", nil
}

func (s *Script) lasting(args []string, do func(time.Duration, []*Node)) error {
	if len(args) == 0 {
		return fmt.Errorf("simulations: for how long?")
	}
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return fmt.Errorf("simulations: %w", err)
	}
	nodes, err := s.nodes(args[1:])
	if err != nil {
		return err
	}
	do(d, nodes)
	return nil
}

func (s *Script) cut(args []string) error {
	if len(args) != 3 || args[1] != "from" && args[1] != "and" {
		return fmt.Errorf("simulations: cut takes A-B from C-D, or A-B and C-D")
	}
	these, err := s.nodes(args[:1])
	if err != nil {
		return err
	}
	those, err := s.nodes(args[2:])
	if err != nil {
		return err
	}
	oneWay := func(a, b *Node) bool { return slices.Contains(these, a) && slices.Contains(those, b) }
	s.cuts = append(s.cuts, func(a, b *Node) bool { return oneWay(a, b) || args[1] == "and" && oneWay(b, a) })
	return nil
}

// nodes reads numbers and ranges of nodes.
func (s *Script) nodes(args []string) ([]*Node, error) {
	var out []*Node
	for _, arg := range args {
		first, last, isRange := strings.Cut(arg, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil || from < 0 || to >= len(s.w.nodes) {
			return nil, fmt.Errorf("simulations: %q names no nodes", arg)
		}
		for i := from; i <= to; i++ {
			out = append(out, s.w.nodes[i])
		}
	}
	return out, nil
}

// status groups the members by what they list.
func (s *Script) status() string {
	lists := make(map[string]string)
	var order []string
	for _, n := range s.w.nodes {
		if !n.Present() {
			continue
		}
		list := ""
		for _, o := range s.w.nodes {
			if n.Lists(o) {
				list += fmt.Sprintf(" %d", o.Index)
			}
		}
		if lists[list] == "" {
			order = append(order, list)
		}
		lists[list] += fmt.Sprintf(" %d", n.Index)
	}
	var out strings.Builder
	for _, list := range order {
		fmt.Fprintf(&out, "%s list%s\n", strings.TrimSpace(lists[list]), list)
	}
	fmt.Fprintf(&out, "%d certificates, %d false; %d living dropped\n", s.w.Certificates, s.w.False, s.w.FalseDeaths)
	return out.String()
}

func each(nodes []*Node, do func(*Node)) {
	for _, n := range nodes {
		do(n)
	}
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
