package manifest

import (
	"fmt"
	"strings"
)

// FileError says what is wrong in one of the files that this package reads, and where.
type FileError struct {
	File    string // as handed to the parser
	Line    int    // from 1; 0 when the parser does not know it
	Key     string // dotted key path, such as cell.exchange.tag; empty for the file as a whole
	Problem string // what is wrong and what to do, without the key
}

// Error is one line: manifest: Cell.toml:12: cell.exchange.tag is empty.
func (e *FileError) Error() string {
	var b strings.Builder
	b.WriteString("manifest: ")
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key)
		b.WriteByte(' ')
	}
	b.WriteString(e.Problem)
	return b.String()
}

// NameError says why a name, tag, repository or URL is refused.
type NameError struct {
	What    string // "repository", "tag", "name" …
	Value   string // as given
	Problem string // what is wrong and what to do
}

// Error is one line: manifest: tag "^1.3": is a range; ….
func (e *NameError) Error() string {
	return fmt.Sprintf("manifest: %s: %s", e.quoted(), e.Problem)
}

func (e *NameError) quoted() string {
	v := e.Value
	if len(v) > 128 {
		v = v[:128] + "…"
	}
	return fmt.Sprintf("%s %q", e.What, v)
}

// problem is what follows a key path in a FileError.
func problem(err error) string {
	if e, ok := err.(*NameError); ok {
		return fmt.Sprintf("%s: %s", strings.TrimPrefix(e.quoted(), e.What+" "), e.Problem)
	}
	return "is refused: " + strings.TrimPrefix(err.Error(), "manifest: ")
}

// IncompatibleError says what an instance's interface lacks that code made for another one calls.
type IncompatibleError struct {
	Breaking []string // as Breaking returns it; not empty
}

// maxNamed is how many members an IncompatibleError names: who made the interface could make it endless.
const maxNamed = 4

// Error names the first few members.
func (e *IncompatibleError) Error() string {
	named := e.Breaking[:min(len(e.Breaking), maxNamed)]
	text := strings.Join(named, ", ")
	if more := len(e.Breaking) - len(named); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
