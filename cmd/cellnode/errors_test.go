package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const errorsPage = "../../docs/errors.md"

// errorsSocket names the variable with the socket at which the command, played by this test binary, tells how it has failed.
// It is a socket and no file because some tests fill the disk.
const errorsSocket = "CELLNODE_TEST_ERRORS"

// command is main, and tells the line with which it fails.
func command() {
	var said bytes.Buffer
	code := run(os.Args[1:], os.Stdin, os.Stdout, io.MultiWriter(os.Stderr, &said))
	if path := os.Getenv(errorsSocket); path != "" && code != exitDone {
		if err := tell(path, code, said.String()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 99
		}
	}
	os.Exit(code)
}

func tell(path string, code int, said string) error {
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	defer c.Close()
	for line := range strings.Lines(said) {
		if text, ok := strings.CutPrefix(line, "cellnode: "); ok {
			if _, err := fmt.Fprintf(c, "%d\t%s", code, strings.TrimSpace(text)); err != nil {
				return err
			}
		}
	}
	return nil
}

// manual holds docs/errors.md to what the tests have seen: every line with which the command has failed is in it, with its
// exit code, and when all tests have run, every row of it has been seen.
type manual struct{ m *testing.M }

// Run implements testscript's idea of testing.M.
func (m manual) Run() int {
	code, said, err := m.listen()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	wrong, err := compareManual(said, code == 0 && whole())
	for _, w := range wrong {
		fmt.Fprintln(os.Stderr, w)
	}
	if err != nil || len(wrong) > 0 {
		fmt.Fprintln(os.Stderr, "FAIL: docs/errors.md", err)
		return max(code, 1)
	}
	return code
}

// listen runs the tests and returns what the command has told.
func (m manual) listen() (code int, said []string, err error) {
	dir, err := os.MkdirTemp("", "e")
	if err != nil {
		return 0, nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "socket")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return 0, nil, err
	}
	defer l.Close()
	if err := os.Setenv(errorsSocket, path); err != nil {
		return 0, nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		line := make([]byte, 64<<10)
		for {
			n, err := l.Read(line)
			if err != nil || n == 0 {
				return
			}
			said = append(said, string(line[:n]))
		}
	})
	code = m.m.Run()
	c, err := net.Dial("unixgram", path)
	if err == nil {
		_, err = c.Write(nil) // the end
		c.Close()
	}
	if err != nil {
		l.Close()
	}
	wg.Wait()
	return code, said, err
}

// whole reports whether every test runs.
func whole() bool {
	return !testing.Short() && flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" &&
		flag.Lookup("test.list").Value.String() == ""
}

// errorRow is one row of docs/errors.md.
type errorRow struct {
	text string
	code string
	form *regexp.Regexp
	seen bool
}

func compareManual(said []string, all bool) (wrong []string, err error) {
	rows, err := errorRows(errorsPage)
	if err != nil {
		return nil, err
	}
	for _, line := range said {
		code, text, _ := strings.Cut(line, "\t")
		at := slices.IndexFunc(rows, func(r errorRow) bool { return r.code == code && r.form.MatchString(text) })
		if at < 0 {
			wrong = append(wrong, fmt.Sprintf("no row of docs/errors.md with exit code %s says %q", code, text))
			continue
		}
		rows[at].seen = true
	}
	for _, r := range rows {
		if all && !r.seen {
			wrong = append(wrong, fmt.Sprintf("no test has seen the row %q with exit code %s", r.text, r.code))
		}
	}
	slices.Sort(wrong)
	return slices.Compact(wrong), nil
}

// errorRows reads the table: | code | `text` | what it means and what to do |, with … for what differs.
func errorRows(path string) ([]errorRow, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var rows []errorRow
	for line := range strings.Lines(string(data)) {
		cells := strings.SplitN(strings.TrimSpace(line), "|", 4)
		if len(cells) < 4 || !strings.Contains("12345", strings.TrimSpace(cells[1])) {
			continue
		}
		text := strings.Trim(strings.TrimSpace(cells[2]), "`")
		parts := strings.Split(text, "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		rows = append(rows, errorRow{text: text, code: strings.TrimSpace(cells[1]), form: regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")})
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s has no rows", path)
	}
	return rows, nil
}

// What the command says of its own usage is on the page also where no test has met it, and so are the codes of refusals.
func TestEveryErrorOfTheCommandIsInTheManual(t *testing.T) {
	rows, err := errorRows(errorsPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range ownErrors(t) {
		if !slices.ContainsFunc(rows, func(r errorRow) bool { return r.form.MatchString(text) }) {
			t.Errorf("no row says %q", text)
		}
	}
	page, err := os.ReadFile(errorsPage)
	if err != nil {
		t.Fatal(err)
	}
	codes, err := os.ReadFile("../../internal/record/refusal.go")
	if err != nil {
		t.Fatal(err)
	}
	calls, err := os.ReadFile("../../internal/link/code.go")
	if err != nil {
		t.Fatal(err)
	}
	codes = append(codes, calls...)
	for _, code := range regexp.MustCompile(`"E_[A-Z]+"`).FindAllString(string(codes), -1) {
		if row := "| `" + strings.Trim(code, `"`) + "` |"; !strings.Contains(string(page), row) {
			t.Errorf("no row explains %s", code)
		}
	}
}

var verb = regexp.MustCompile(`%[+#]?[a-z]`)

// ownErrors lists the texts of usage in the command's own files, with x for what differs; but those that begin with another
// error.
func ownErrors(t *testing.T) (texts []string) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			text, ok := call.Args[0].(*ast.BasicLit)
			if !ok || types.ExprString(call.Fun) != "usage" {
				return true
			}
			format, err := strconv.Unquote(text.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(format, "%w") {
				texts = append(texts, verb.ReplaceAllString(strings.ReplaceAll(format, "%q", `"x"`), "x"))
			}
			return true
		})
	}
	return texts
}
