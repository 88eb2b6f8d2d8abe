package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Row names one measurement: a contender, its number of members, and the part of datagrams that is lost.
type Row struct {
	Contender string  `json:"contender"`
	Members   int     `json:"members"`
	Loss      float64 `json:"loss"`
}

// String is the row as -only and -row take it: cellnode/64/0.05.
func (r Row) String() string {
	return fmt.Sprintf("%s/%d/%s", r.Contender, r.Members, strconv.FormatFloat(r.Loss, 'g', -1, 64))
}

func parseRow(s string) (Row, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return Row{}, fmt.Errorf("anchors: row %q is not CONTENDER/MEMBERS/LOSS", s)
	}
	members, err := strconv.Atoi(parts[1])
	if err != nil || members < 3 {
		return Row{}, fmt.Errorf("anchors: row %q: %q is not a number of members, at least 3", s, parts[1])
	}
	loss, err := strconv.ParseFloat(parts[2], 64)
	if err != nil || loss < 0 || loss >= 1 {
		return Row{}, fmt.Errorf("anchors: row %q: %q is not a loss from 0 to below 1", s, parts[2])
	}
	if _, ok := contenders[parts[0]]; !ok {
		return Row{}, fmt.Errorf("anchors: row %q: no contender %q; there are %s", s, parts[0], strings.Join(contenderNames(), ", "))
	}
	return Row{parts[0], members, loss}, nil
}

// allRows is the whole comparison, the rows that tell most first.
func allRows() []Row {
	var rows []Row
	quick := slices.DeleteFunc(contenderNames(), func(c string) bool { return contenders[c].Slow })
	for _, n := range []int{64, 8, 32, 128} {
		for _, c := range quick {
			rows = append(rows, Row{c, n, 0})
		}
	}
	for _, loss := range []float64{0.05, 0.2} {
		for _, c := range quick {
			rows = append(rows, Row{c, lossMembers, loss})
		}
	}
	for _, n := range []int{64, 8, 32} {
		rows = append(rows, Row{"memberlist-wan", n, 0})
	}
	return rows
}

// lossMembers is the size at which loss is tried.
const lossMembers = 32

// Result is what one row has shown. Times are in seconds, costs by member and second.
type Result struct {
	Row
	Date    time.Time `json:"date"`
	Machine string    `json:"machine"`
	Go      string    `json:"go"`
	Load    float64   `json:"load"` // of the machine, in the minute before

	// Converge is from the first join of all until all know all; negative if they did not within the row's patience.
	Converge float64 `json:"converge"`
	// Newcomers is, for each that joined a running cell, from its join until it and all others know each other;
	// negative if that did not happen within the row's patience.
	Newcomers []float64 `json:"newcomers"`
	Deaths    []Death   `json:"deaths"`

	Idle     Idle     `json:"idle"`
	Mistakes Mistakes `json:"mistakes"` // of the whole row; those of the quiet minute are in Idle
}

// Idle is a time in which nothing happens but what the row's loss does.
type Idle struct {
	Seconds  float64  `json:"seconds"`
	Wire     float64  `json:"wire"`    // bytes sent, headers of IP, UDP and TCP included
	Packets  float64  `json:"packets"` // sent
	Frames   float64  `json:"frames"`  // of our detector alone, sent; zero for others
	Detector float64  `json:"detector"`
	CPU      float64  `json:"cpu"`   // ms
	Heap     float64  `json:"heap"`  // KiB of live heap, by member
	Stack    float64  `json:"stack"` // KiB of stacks, by member
	Conns    float64  `json:"conns"` // kept, by member
	Mistakes Mistakes `json:"mistakes"`
}

// quantile returns what a part q of the values do not exceed, by linear interpolation between the two nearest.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return -1
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// times returns one time of each death that has it.
func times(deaths []Death, of func(Death) float64) []float64 {
	var out []float64
	for _, d := range deaths {
		if t := of(d); t >= 0 {
			out = append(out, t)
		}
	}
	return out
}

func first(d Death) float64 { return d.First }

func all(d Death) float64 { return d.All }
