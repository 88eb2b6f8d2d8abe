package source

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kept is what of the caller's environment git gets to see: where programs, home, keys, agents, proxies, certificates and
// the user's own way to log in are found. Nothing that names a repository, and no GIT_* beyond these.
var kept = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ",
	"XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS", "GNUPGHOME",
	"SSH_AUTH_SOCK", "SSH_AGENT_PID", "KRB5CCNAME", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_SSH_VARIANT", "GIT_ASKPASS",
	"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM",
	"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "CURL_CA_BUNDLE",
	"SYSTEMROOT", "COMSPEC", "PATHEXT", "APPDATA", "LOCALAPPDATA", "USERPROFILE", "TEMP", "TMP",
}

// gitEnv is the whole environment of a git command that reads url.
func (s *Source) gitEnv(url string) []string {
	env := []string{
		"GIT_TERMINAL_PROMPT=0",
		"GCM_INTERACTIVE=never",
		"GIT_ALLOW_PROTOCOL=" + protocols(url),
		"GIT_CEILING_DIRECTORIES=" + filepath.Dir(s.cfg.CacheDir),
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_LFS_SKIP_SMUDGE=1",
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_ALLOC_LIMIT=512m", // one allocation: a delta that claims to unpack to gigabytes ends here
		"LC_ALL=C",
	}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if slices.Contains(kept, name) {
			env = append(env, v)
		}
	}
	return env
}

// protocols are those that git may speak for a URL. https and ssh go together because people rewrite one to the other in
// their own configuration; a redirect or a rewriting to anything else is refused by git.
func protocols(url string) string {
	switch {
	case isDisk(url):
		return "file"
	case strings.HasPrefix(url, "http://"):
		return "http"
	case strings.HasPrefix(url, "git://"):
		return "git"
	}
	return "https:ssh"
}

func isDisk(url string) bool {
	return strings.HasPrefix(url, "/") || strings.HasPrefix(url, "file://")
}
