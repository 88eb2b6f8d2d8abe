package doctor

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cellnode/cellnode/internal/record"
)

// clockWait is how long the hosts of repositories are waited for.
const clockWait = 5 * time.Second

// clock compares this machine's clock with those of others: with the kernel's own judgement, and with the hosts of the
// repositories, whose answers carry a date.
func clock(ctx context.Context, m *machine) []Finding {
	var list []Finding
	if f, ok := kernelClock(); ok {
		list = append(list, f)
	}
	ctx, cancel := context.WithTimeout(ctx, clockWait)
	defer cancel()
	list = append(list, hostClocks(ctx, m)...)
	if len(list) == 0 {
		list = append(list, finding(Unknown, "nobody was there to compare this machine's clock with", "timedatectl status"))
	}
	return list
}

func hostClocks(ctx context.Context, m *machine) []Finding {
	urls := map[string]string{} // host → a repository there
	for _, c := range m.cells().resolved {
		if rest, ok := strings.CutPrefix(c.Git, "https://"); ok {
			host, _, _ := strings.Cut(rest, "/")
			urls[host] = c.Git
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var list []Finding
	for host, url := range urls {
		wg.Go(func() {
			begun := time.Now()
			there, err := hostTime(ctx, url)
			if err != nil {
				return // whether the host answers is for another check
			}
			mu.Lock()
			defer mu.Unlock()
			list = append(list, skew(host, begun, time.Now(), there))
		})
	}
	wg.Wait()
	return list
}

// hostTime returns the date in a host's answer, whatever the answer is otherwise.
func hostTime(ctx context.Context, url string) (time.Time, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return time.Time{}, err
	}
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		return time.Time{}, err
	}
	resp.Body.Close()
	return http.ParseTime(resp.Header.Get("Date"))
}

// skew judges a clock that said there (in whole seconds) at some moment between begun and ended by ours.
func skew(host string, begun, ended, there time.Time) Finding {
	off := time.Duration(0)
	switch earliest, latest := begun.Add(-time.Second), ended; {
	case there.Before(earliest):
		off = earliest.Sub(there)
	case there.After(latest):
		off = latest.Sub(there)
	}
	const remedy = "sudo timedatectl set-ntp true"
	direction := "ahead of"
	if off < 0 {
		direction = "behind"
	}
	text := fmt.Sprintf("this clock is %s %s that of %s", off.Abs().Round(time.Second), direction, host)
	switch {
	case off.Abs() > record.Leeway:
		return finding(Error, fmt.Sprintf("%s: above %s others refuse this machine's records, and it theirs (E_FUTURE, E_EXPIRED)", text, record.Leeway), remedy)
	case off.Abs() > record.Leeway/5:
		return finding(Warning, fmt.Sprintf("%s: above %s records are refused", text, record.Leeway), remedy)
	}
	return finding(OK, fmt.Sprintf("this clock agrees with that of %s to %s", host, max(off.Abs(), time.Second+ended.Sub(begun)).Round(time.Second)), "")
}
