package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// tables renders all results: what a death takes, and what an idle second costs.
func tables(results map[Row]Result) string {
	rows := slices.SortedFunc(maps.Values(results), func(a, b Result) int {
		return cmp.Or(cmp.Compare(a.Loss, b.Loss), cmp.Compare(a.Members, b.Members), cmp.Compare(a.Contender, b.Contender))
	})
	var b strings.Builder
	last := slices.MaxFunc(rows, func(a, b Result) int { return a.Date.Compare(b.Date) })
	fmt.Fprintf(&b, "%s, %s, %s.\n\n", last.Machine, last.Go, last.Date.Format("2 January 2006"))
	b.WriteString("| contender | N | loss | all know all | newcomer p50 / max | kills | first suspicion p50 / max | all know p50 / p99 / max | live taken for dead, idle / whole row | live suspected, idle / whole row |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		f, a := times(r.Deaths, first), times(r.Deaths, all)
		kills := fmt.Sprint(len(r.Deaths))
		if missed := len(r.Deaths) - len(a); missed > 0 {
			kills += fmt.Sprintf(", %d not seen by all", missed)
		}
		fmt.Fprintf(&b, "| %s | %d | %g %% | %s s | %s / %s s | %s | %s / %s s | %s / %s / %s s | %d / %d | %d / %d |\n",
			r.Contender, r.Members, 100*r.Loss, seconds(r.Converge), seconds(quantile(r.Newcomers, 0.5)), seconds(quantile(r.Newcomers, 1)), kills,
			seconds(quantile(f, 0.5)), seconds(quantile(f, 1)), seconds(quantile(a, 0.5)), seconds(quantile(a, 0.99)), seconds(quantile(a, 1)),
			r.Idle.Mistakes.Dead, r.Mistakes.Dead, r.Idle.Mistakes.Suspect, r.Mistakes.Suspect)
	}
	b.WriteString("\nA member and second, idle; the detector's share is its frames alone, upkeep is all the rest.\n\n")
	b.WriteString("| contender | N | loss | wire B | of it detector B | upkeep B | packets | CPU ms | live heap KiB | stacks KiB | connections | load before |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		i := r.Idle
		detector, upkeep := "all", "–"
		if i.Detector > 0 {
			detector, upkeep = fmt.Sprintf("%.0f", i.Detector), fmt.Sprintf("%.0f", i.Wire-i.Detector)
		}
		fmt.Fprintf(&b, "| %s | %d | %g %% | %.0f | %s | %s | %.1f | %.2f | %.0f | %.0f | %.1f | %.1f |\n", r.Contender, r.Members, 100*r.Loss,
			i.Wire, detector, upkeep, i.Packets, i.CPU, i.Heap, i.Stack, i.Conns, r.Load)
	}
	return b.String()
}

// seconds renders a time, or a dash for what did not come to pass.
func seconds(t float64) string {
	if t < 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", t)
}
