package main

import (
	"bytes"
	"fmt"
	"math"
)

// The plot's frame, in the units of its view box.
const (
	plotLeft, plotRight, plotTop, plotBottom = 60.0, 620.0, 20.0, 320.0

	slowest, quickest = 100.0, 1.0 // seconds, the ends of the axis
)

var colours = map[string]string{
	"cellnode": "#d9730d", "memberlist-lan": "#3b82c4", "memberlist-tuned": "#2f9e6e", "memberlist-wan": "#9a6fc9",
}

// plot draws how long it takes until all know of a death, over the number of members, both axes logarithmic: a line
// through the medians, a bar from the median to the worst with a mark at p99. Its text takes the reader's colours.
func plot(results map[Row]Result) []byte {
	var b bytes.Buffer
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 400" font-family="sans-serif" font-size="12">
<style>text{fill:#333}.axis{stroke:#8884;fill:none}@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>
<title>Silent kill until all survivors know</title>
`)
	for _, s := range []float64{1, 2, 5, 10, 20, 50, 100} {
		fmt.Fprintf(&b, "<path class=\"axis\" d=\"M%g %.1fH%g\"/><text x=\"52\" y=\"%.1f\" text-anchor=\"end\">%g s</text>\n", plotLeft, plotY(s), plotRight, plotY(s)+4, s)
	}
	for _, n := range []int{8, 16, 32, 64, 128} {
		fmt.Fprintf(&b, "<text x=\"%.1f\" y=\"340\" text-anchor=\"middle\">%d</text>\n", plotX(n, 0), n)
	}
	b.WriteString("<text x=\"340\" y=\"360\" text-anchor=\"middle\">members; silent kill until all survivors know: p50, p99, worst</text>\n")
	for i, name := range contenderNames() {
		curve(&b, results, name, i)
		fmt.Fprintf(&b, "<circle cx=\"%d\" cy=\"381\" r=\"4\" fill=\"%s\"/><text x=\"%d\" y=\"385\">%s</text>\n", 70+i*140, colours[name], 80+i*140, name)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// curve draws one contender, a little aside of the others.
func curve(b *bytes.Buffer, results map[Row]Result, name string, place int) {
	var line string
	for _, n := range []int{8, 32, 64, 128} {
		took := times(results[Row{name, n, 0}].Deaths, all)
		if len(took) == 0 {
			continue
		}
		x, p50, p99, worst := plotX(n, place), plotY(quantile(took, 0.5)), plotY(quantile(took, 0.99)), plotY(quantile(took, 1))
		fmt.Fprintf(b, "<path stroke=\"%s\" stroke-width=\"2\" d=\"M%.1f %.1fV%.1fM%.1f %.1fh8\"/><circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"/>\n",
			colours[name], x, p50, worst, x-4, p99, x, p50, colours[name])
		line += fmt.Sprintf(" %.1f,%.1f", x, p50)
	}
	if line != "" {
		fmt.Fprintf(b, "<polyline fill=\"none\" stroke=\"%s\" points=\"%s\"/>\n", colours[name], line[1:])
	}
}

func plotX(members, place int) float64 {
	return plotLeft + 20 + (plotRight-plotLeft-60)*math.Log2(float64(members)/8)/4 + 5*float64(place)
}

func plotY(s float64) float64 {
	part := math.Log(min(max(s, quickest), slowest)/quickest) / math.Log(slowest/quickest)
	return plotBottom - (plotBottom-plotTop)*part
}
