package manifest

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCanonicalRepository(t *testing.T) {
	for url, want := range map[string]string{
		// One repository, one name.
		"https://cell-hub.acme.com/acme/exchange":            "cell-hub.acme.com/acme/exchange",
		"HTTPS://Cell-Hub.ACME.com/acme/exchange":            "cell-hub.acme.com/acme/exchange",
		"https://cell-hub.acme.com:443/acme/exchange/":       "cell-hub.acme.com/acme/exchange",
		"http://cell-hub.acme.com:80/acme/exchange.git/":     "cell-hub.acme.com/acme/exchange",
		"git://cell-hub.acme.com:9418/acme/exchange":         "cell-hub.acme.com/acme/exchange",
		"git+ssh://git@cell-hub.acme.com/acme/exchange":      "cell-hub.acme.com/acme/exchange",
		"https://token@cell-hub.acme.com/acme/exchange":      "cell-hub.acme.com/acme/exchange",
		"git@cell-hub.acme.com:/acme/exchange.git":           "cell-hub.acme.com/acme/exchange",
		"cell-hub.acme.com:acme/exchange":                    "cell-hub.acme.com/acme/exchange",
		"cell-hub.acme.com/acme/exchange":                    "cell-hub.acme.com/acme/exchange",
		"https://cell-hub.acme.com./acme/exchange.git.git//": "cell-hub.acme.com/acme/exchange",
		// Ports.
		"ssh://git@h.org:2222/a": "h.org:2222/a",
		"https://h.org:08443/a":  "h.org:8443/a",
		"h.org:8443/a":           "h.org:8443/a",
		"git@h.org:8443/a":       "h.org/8443/a",
		"h.org:8443":             "h.org/8443",
		// Case.
		"https://h.org/Acme/Exchange":           "h.org/Acme/Exchange",
		"https://h.org/Acme/Exchange.GIT":       "h.org/Acme/Exchange.GIT",
		"https://GitHub.com/Acme/Exchange.GIT":  "github.com/acme/exchange",
		"https://gitlab.com/Acme/Sub/Exchange":  "gitlab.com/acme/sub/exchange",
		"https://bitbucket.org/Acme/Exchange":   "bitbucket.org/acme/exchange",
		"https://github.com:8443/Acme/Exchange": "github.com:8443/acme/exchange",
		"https://github.com.evil.org/Acme/X":    "github.com.evil.org/Acme/X",
		"https://not-github.com/Acme/Exchange":  "not-github.com/Acme/Exchange",
		// International names.
		"https://bücher.example/a":        "xn--bcher-kva.example/a",
		"https://xn--bcher-kva.example/a": "xn--bcher-kva.example/a",
		"https://BÜCHER.example/a":        "xn--bcher-kva.example/a",
		"https://faß.example/a":           "xn--fa-hia.example/a",
		"https://ｇｉｔｈｕｂ.com/Acme/X":       "github.com/acme/x",
		"https://example。org/a":           "example.org/a",
		// Addresses.
		"https://127.0.0.1:8443/a":     "127.0.0.1:8443/a",
		"https://[::1]:8443/a":         "[::1]:8443/a",
		"https://[2001:DB8:0::1]/a":    "[2001:db8::1]/a",
		"git@[::1]:a":                  "[::1]/a",
		"http://localhost:3000/acme/x": "localhost:3000/acme/x",
		"https://my_host/a":            "my_host/a",
		// Odd but lawful paths.
		"ssh://git@git.sr.ht/~me/exchange":  "git.sr.ht/~me/exchange",
		"https://h.org/My%20Project/_git/x": "h.org/My%20Project/_git/x",
		// On disk.
		"/srv/git/exchange.git":    "file:/srv/git/exchange",
		"/srv//git/./exchange/":    "file:/srv/git/exchange",
		"/home/me/exchange/.git":   "file:/home/me/exchange",
		"file:///srv/git/exchange": "file:/srv/git/exchange",
		"FILE:///srv/git/Exchange": "file:/srv/git/Exchange",
		"file://localhost/srv/git": "file:/srv/git",
		"file:/srv/git/exchange":   "file:/srv/git/exchange",
		"file:///srv/my%20git":     "file:/srv/my git",
		"/srv/my git":              "file:/srv/my git",
		"/srv/100%":                "file:/srv/100%",
	} {
		got, err := CanonicalRepository(url)
		if err != nil || got != want {
			t.Errorf("CanonicalRepository(%q) = %q, %v; want %q", url, got, err, want)
		}
	}
}

// hostile are addresses that neither name a repository nor may ever reach git.
var hostile = map[string]string{
	"":                               "is empty",
	"-":                              "begins with -",
	"--upload-pack=touch /tmp/pwn":   "begins with -",
	"-oProxyCommand=touch /tmp/pwn":  "begins with -",
	"ext::sh -c id":                  "remote helper",
	"fd::17":                         "remote helper",
	"cell::x":                        "remote helper",
	"https::https://h.org/a":         "remote helper",
	"cell://h.org/a":                 "has the scheme cell",
	"ftp://h.org/a":                  "has the scheme ftp",
	"javascript://h.org/a":           "has the scheme javascript",
	"https://user:password@h.org/a":  "has a password",
	"https://:password@h.org/a":      "has a password",
	"ssh://-oProxyCommand=x@h.org/a": "begins with -",
	"ssh://-oProxyCommand=x/a":       "is not a domain name",
	"git@-oProxyCommand=x:a":         "is not a domain name",
	"https://h.org/-x":               "begins with -",
	"git@h.org:-x":                   "begins with -",
	"https://h.org/a/../b":           "has .. in its path",
	"https://h.org/a/%2e%2e/b":       "has .. in its path",
	"https://h.org/a/%2E./b":         "has .. in its path",
	"https://h.org/a/./b":            "has . in its path",
	"https://h.org/a//b":             "has // in its path",
	"https://h.org//a":               "has // in its path",
	"https://h.org/a%2fb":            "has an escaped /",
	"https://h.org/a%00b":            "control",
	"https://h.org/a%":               "broken %-escape",
	"https://h.org/a%5cb":            "backslash",
	"https://h.org/a@b":              "no repository has",
	"https://h.org/a b":              "no repository has",
	"https://h.org/a;id":             "no repository has",
	"https://h.org/$(id)":            "no repository has",
	"https://h.org/a?x=1":            "query or a fragment",
	"https://h.org/a#x":              "query or a fragment",
	"https://h.org/a\nb":             "control",
	"https://h.org/\u202ea":          "control",
	"https://h.org/\xff":             "UTF-8",
	`https://h.org\a`:                "backslash",
	`C:\repo`:                        "backslash",
	"https://":                       "has no host",
	"https:///a":                     "has no host",
	"https://h.org":                  "has no path",
	"https://h.org/":                 "has no path",
	"https://h.org/.git":             "has no path",
	"https://h.org:0/a":              "port",
	"https://h.org:65536/a":          "port",
	"https://h.org:x/a":              "port",
	"https://h.org:-1/a":             "port",
	"https://h.org:22:22/a":          "port",
	"https://h..org/a":               "is not a domain name",
	"https://.h.org/a":               "is not a domain name",
	"https://h .org/a":               "is not a domain name",
	"https://h%2eorg/a":              "is not a domain name",
	"https://xn--a/a":                "is not a domain name",
	"https://[::1/a":                 "closing ]",
	"https://[::1]x/a":               "between ]",
	"https://[fe80::1%25eth0]/a":     "IPv6",
	"https://[127.0.0.1]/a":          "IPv6",
	"git@[::1":                       "closing ]",
	"exchange":                       "no path",
	"git@h.org/a":                    "has a user but no scheme",
	"./exchange":                     "relative path",
	"../exchange":                    "relative path",
	"~/exchange":                     "relative path",
	"/":                              "names no repository",
	"/.git":                          "names no repository",
	"/srv/../etc":                    "has .. in its path",
	"file:///srv/%2e%2e/etc":         "has .. in its path",
	"file:///srv/%00":                "control",
	"file:///srv/%5c":                "backslash",
	"file:///srv/%zz":                "broken %-escape",
	"file://host/srv":                "file URL with a host",
	"/..git":                         "ends in dots",
	"/srv/...git":                    "ends in dots",
	"https://h.org/a/...git":         "has .. in its path",
	"file:srv/git":                   "relative path",

	"https://h.org/" + long("a", MaxURLSize): "is longer",
	"https://" + long("a", 64) + ".org/a":    "is not a domain name",
	"https://" + long("a.", 130) + "org/a":   "host",
}

func TestHostileAddressesAreRefused(t *testing.T) {
	for url, want := range hostile {
		_, err := CanonicalRepository(url)
		checkProblem(t, fmt.Sprintf("CanonicalRepository(%q)", url), err, want)
		checkProblem(t, fmt.Sprintf("FetchURL(%q)", url), FetchURL(url), want)
	}
}

func TestFetchURL(t *testing.T) {
	for url, want := range map[string]string{
		"https://h.org/a":          "",
		"ssh://git@h.org/a":        "",
		"git@h.org:a/b.git":        "",
		"h.org:a/b":                "",
		"file:///srv/git":          "",
		"/srv/git":                 "",
		"http://localhost:3000/a":  "",
		"http://127.0.0.1/a":       "",
		"http://127.8.9.1:3000/a":  "",
		"http://[::1]:3000/a":      "",
		"git://localhost/a":        "",
		"http://h.org/a":           "is not encrypted",
		"git://h.org/a":            "is not encrypted",
		"http://localhost.h.org/a": "is not encrypted",
		"http://0x7f.1/a":          "is not encrypted",
		"http://0.0.0.0/a":         "is not encrypted",
		"http://127.0.0.1.h.org/a": "is not encrypted",
		"h.org/a":                  "has no scheme",
		"h.org:8443/a":             "has no scheme",
		"file:/srv/git":            "is not a URL that git takes",
		"FILE:///srv/git":          "is not a URL that git takes",
	} {
		checkProblem(t, fmt.Sprintf("FetchURL(%q)", url), FetchURL(url), want)
	}
}

// genURL draws addresses that are mostly lawful.
func genURL() *rapid.Generator[string] {
	schemes := []string{"https://", "ssh://git@", "http://", "git://", "", "git@", "file://", "file:"}
	hosts := []string{"h.org", "GitHub.com", "H.ORG.", "[::1]", "bücher.de", "localhost", "xn--bcher-kva.de"}
	part := rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9._~%-]{0,6}`), rapid.StringN(0, 3, 6))
	return rapid.Custom(func(t *rapid.T) string {
		scheme := rapid.SampledFrom(schemes).Draw(t, "scheme")
		host := rapid.SampledFrom(hosts).Draw(t, "host")
		port := rapid.SampledFrom([]string{"", "", ":22", ":443", ":8443", ":"}).Draw(t, "port")
		parts := rapid.SliceOfN(part, 1, 4).Draw(t, "path")
		end := rapid.SampledFrom([]string{"", "/", ".git", ".git/", "//", ".GIT", ".git.git"}).Draw(t, "end")
		if strings.HasPrefix(scheme, "file") {
			host, port = "", ""
		}
		return scheme + host + port + "/" + strings.Join(parts, "/") + end
	})
}

func TestCanonicalRepositoryIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkIdempotent(t, genURL().Draw(t, "url")) })
}

type fatal interface {
	Fatalf(string, ...any)
	Helper()
}

// checkIdempotent is the law of every accepted address. It is shared with the fuzz test.
func checkIdempotent(t fatal, url string) {
	t.Helper()
	once, err := CanonicalRepository(url)
	if err != nil {
		return
	}
	twice, err := CanonicalRepository(once)
	if err != nil || twice != once {
		t.Fatalf("CanonicalRepository(%q) = %q, and of that %q, %v", url, once, twice, err)
	}
	if strings.HasPrefix(once, "-") || strings.Contains(once, "://") || textProblem(once) != "" {
		t.Fatalf("CanonicalRepository(%q) = %q", url, once)
	}
	for part := range strings.SplitSeq(once, "/") {
		if part == ".." {
			t.Fatalf("CanonicalRepository(%q) = %q", url, once)
		}
	}
}

// The spelling of scheme, user, default port and suffix never makes another cell.
func TestSpellingDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.StringMatching(`[a-zA-Z0-9_]{1,8}(/[a-zA-Z0-9_]{1,8}){0,2}`).Draw(t, "path")
		host := rapid.SampledFrom([]string{"h.org", "github.com", "example.co.uk"}).Draw(t, "host")
		want, err := CanonicalRepository("https://" + host + "/" + path)
		if err != nil {
			t.Fatal(err)
		}
		for _, spelling := range []string{
			"ssh://git@" + strings.ToUpper(host) + ":22/" + path + ".git",
			"git@" + host + ":" + path + "/",
			"http://" + host + ":80/" + path,
			host + "/" + path,
		} {
			if got, err := CanonicalRepository(spelling); err != nil || got != want {
				t.Fatalf("CanonicalRepository(%q) = %q, %v; want %q", spelling, got, err, want)
			}
		}
	})
}

func FuzzCanonicalRepository(f *testing.F) {
	for url := range hostile {
		f.Add(url)
	}
	f.Add("https://GitHub.com/Acme/Exchange.git")
	f.Add("git@[::1]:a/b.git")
	f.Fuzz(func(t *testing.T, url string) {
		checkIdempotent(t, url)
		if FetchURL(url) == nil {
			if _, err := CanonicalRepository(url); err != nil {
				t.Fatalf("FetchURL takes %q, which has no name: %v", url, err)
			}
		}
	})
}
