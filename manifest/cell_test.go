package manifest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The vectors of the design. They are the network's addresses: a change here splits it in two.
var goldenIDs = []struct {
	urls       []string
	repository string
	tag        string
	id         string
}{
	{
		urls: []string{
			"https://cell-hub.acme.com/acme/exchange",
			"git@cell-hub.acme.com:acme/exchange.git",
			"ssh://git@CELL-HUB.acme.com:22/acme/exchange/",
		},
		repository: "cell-hub.acme.com/acme/exchange", tag: "v1.3.0",
		id: "bafkreigsg5iw3ytpbes6mojygbtq35uzvaoisiwcji6zsezwz25augaqtm",
	}, {
		urls:       []string{"https://github.com/Acme/Exchange.git"},
		repository: "github.com/acme/exchange", tag: "v1.3.0",
		id: "bafkreicue6oiwv3kbcsubeelelsiyiaf2ttycfvlovukqvw3ulwc3dbvn4",
	}, {
		urls:       []string{"https://github.com/acme/exchange"},
		repository: "github.com/acme/exchange", tag: "v1.3.1",
		id: "bafkreiazfcmu7svvr7oozp4mts66cqezc6oiksb3ufjimi6v7aw53bcogi",
	}, {
		urls:       []string{"https://git.example.org:8443/team/Price-Feed"},
		repository: "git.example.org:8443/team/Price-Feed", tag: "2026.11",
		id: "bafkreibmuwqzi5vjszgfhbgggywpl2o44mnobnf4huiyowrfjxkuccnenu",
	}, {
		urls:       []string{"https://gitlab.com/a/b/c"},
		repository: "gitlab.com/a/b/c", tag: "release/2.0",
		id: "bafkreiazgt7uxnn35j4sk6cdlcl5auwxogpo2qot4fub6ws26nlmvuril4",
	},
}

func TestIDsAreFrozen(t *testing.T) {
	for _, g := range goldenIDs {
		for _, url := range g.urls {
			c, err := NewCell(url, g.tag)
			if err != nil {
				t.Errorf("NewCell(%q, %q): %v", url, g.tag, err)
				continue
			}
			if c.Repository != g.repository || c.ID().String() != g.id {
				t.Errorf("NewCell(%q, %q) = %v with ID %v, want %s with %s", url, g.tag, c, c.ID(), g.repository, g.id)
			}
		}
	}
}

func TestRepositoryAndTagDoNotRunTogether(t *testing.T) {
	a := Cell{Repository: "h/a", Tag: "b@c"}
	b := Cell{Repository: "h/a@b", Tag: "c"}
	if a.ID() == b.ID() {
		t.Error("two cells have one ID")
	}
}

func TestParseCell(t *testing.T) {
	for _, tt := range []struct{ arg, repository, tag string }{
		{"cell-hub.acme.com/acme/exchange@v1.3.0", "cell-hub.acme.com/acme/exchange", "v1.3.0"},
		{"https://cell-hub.acme.com/acme/exchange.git@v1.3.0", "cell-hub.acme.com/acme/exchange", "v1.3.0"},
		{"https://git@cell-hub.acme.com/acme/exchange@v1.3.0", "cell-hub.acme.com/acme/exchange", "v1.3.0"},
		{"git@cell-hub.acme.com:acme/exchange.git@v1.3.0", "cell-hub.acme.com/acme/exchange", "v1.3.0"},
		{"ssh://git@cell-hub.acme.com:2222/acme/exchange@release/2.0", "cell-hub.acme.com:2222/acme/exchange", "release/2.0"},
		{"git.example.org:8443/team/Price-Feed@2026.11", "git.example.org:8443/team/Price-Feed", "2026.11"},
		{"https://github.com/acme/mono@pkg@1.0.0", "github.com/acme/mono", "pkg@1.0.0"},
		{"https://[2001:DB8::1]:8443/a@v1", "[2001:db8::1]:8443/a", "v1"},
		{"git@[2001:db8::1]:a/b@v1", "[2001:db8::1]/a/b", "v1"},
		{"/srv/git/exchange.git@v1", "file:/srv/git/exchange", "v1"},
		{"/home/me@work/exchange@v1", "file:/home/me@work/exchange", "v1"},
		{"file:///srv/git/exchange@v1", "file:/srv/git/exchange", "v1"},
		{"file:/srv/git/exchange@v1", "file:/srv/git/exchange", "v1"},
	} {
		c, err := ParseCell(tt.arg)
		if err != nil || c.Repository != tt.repository || c.Tag != tt.tag {
			t.Errorf("ParseCell(%q) = %+v, %v; want %s %s", tt.arg, c, err, tt.repository, tt.tag)
		}
	}
}

func TestParseCellRefuses(t *testing.T) {
	for _, arg := range []string{
		"", "exchange", "exchange@v1", "github.com/acme/exchange", "git@github.com:acme/exchange", "@v1", "h/p@",
		"https://user:secret@github.com/acme/exchange@v1", "[::1/a@v1", "/@v1", "ext::sh -c id@v1", "h/p@^1.2",
		"https://github.com@v1",
	} {
		if c, err := ParseCell(arg); err == nil {
			t.Errorf("ParseCell(%q) = %v, want an error", arg, c)
		}
	}
}

func TestPasswordsStayOutOfMessages(t *testing.T) {
	for _, url := range []string{"https://user:s3cret@github.com/acme/x", "https://:s3cret@h/x", "ssh://u:s3cret@h"} {
		_, err := CanonicalRepository(url)
		_, argErr := ParseCell(url + "@v1")
		for _, err := range []error{err, argErr, FetchURL(url)} {
			if err == nil || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%q: %v", url, err)
			}
		}
	}
}

// A cell argument that String wrote comes back as the same cell.
func TestCellStringIsUndone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, err := NewCell(genURL().Draw(t, "url"), genTag().Draw(t, "tag"))
		if err != nil {
			t.Skip(err)
		}
		back, err := ParseCell(c.String())
		if err != nil || back != c {
			t.Fatalf("ParseCell(%q) = %v, %v", c, back, err)
		}
		if again, err := NewCell(c.URL(), c.Tag); err != nil || again != c {
			t.Fatalf("NewCell(%q) = %v, %v", c.URL(), again, err)
		}
		if err := FetchURL(c.URL()); err != nil {
			t.Fatal(err)
		}
	})
}

func genTag() *rapid.Generator[string] {
	return rapid.OneOf(rapid.StringMatching(`v?[0-9]{1,3}(\.[0-9]{1,3}){0,2}(-rc[0-9])?`),
		rapid.StringMatching(`[a-z]{1,8}(/|@)[0-9]\.[0-9]`), rapid.String())
}

func checkProblem(t *testing.T, call string, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
		return
	}
	var ne *NameError
	if !errors.As(err, &ne) || !strings.Contains(ne.Problem, want) {
		t.Errorf("%s = %v, want a problem that says %q", call, err, want)
	}
}

func long(s string, n int) string { return strings.Repeat(s, n) }

func ExampleCell_ID() {
	a, _ := NewCell("git@cell-hub.acme.com:acme/exchange.git", "v1.3.0")
	b, _ := ParseCell("cell-hub.acme.com/acme/exchange@v1.3.0")
	fmt.Println(a)
	fmt.Println(a.ID())
	fmt.Println(a == b)
	// Output:
	// cell-hub.acme.com/acme/exchange@v1.3.0
	// bafkreigsg5iw3ytpbes6mojygbtq35uzvaoisiwcji6zsezwz25augaqtm
	// true
}
