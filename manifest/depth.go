package manifest

import "fmt"

// checkShapeTOML refuses a file whose arrays, inline tables or dotted keys nest deeper than MaxDepth, or that has more
// than maxNodes values. The parser recurses on the first two, its cost grows with the square of the third and its memory
// with the last, so this is looked at before it runs.
func checkShapeTOML(file string, data []byte) error {
	s := scanner{data: data, comment: '#', line: 1}
	depth, dots, values := 0, 0, 0
	for {
		switch c := s.next(); c {
		case 0:
			return nil
		case '[', '{':
			depth, dots, values = depth+1, 0, values+1
		case ']', '}':
			depth, dots = max(depth-1, 0), 0
		case '.':
			dots++
		case ',', '=':
			dots, values = 0, values+1
		case '\n':
			dots = 0
		}
		if depth > MaxDepth || dots >= MaxDepth {
			return &FileError{File: file, Line: s.line, Problem: fmt.Sprintf("is nested deeper than %d", MaxDepth)}
		}
		if values > maxNodes {
			return &FileError{File: file, Line: s.line, Problem: fmt.Sprintf("has more than %d values", maxNodes)}
		}
	}
}

// scanner walks over the structure of TOML or protobuf text: next skips comments and the insides of strings.
type scanner struct {
	data    []byte
	at      int
	line    int
	comment byte // '#' for TOML, '/' for protobuf (// and /* */)
}

// next is the next byte outside strings and comments; 0 at the end. A string comes as its opening quote.
func (s *scanner) next() byte {
	if s.at >= len(s.data) {
		return 0
	}
	c := s.data[s.at]
	s.at++
	switch {
	case c == '\n':
		s.line++
	case c == 0:
		return ' '
	case c == '"' || c == '\'':
		s.skipString(c)
	case c == '#' && s.comment == '#':
		s.skipLine()
	case c == '/' && s.comment == '/' && s.peek(0) == '/':
		s.skipLine()
	case c == '/' && s.comment == '/' && s.peek(0) == '*':
		s.skipBlock()
	}
	return c
}

func (s *scanner) peek(i int) byte {
	if s.at+i < len(s.data) {
		return s.data[s.at+i]
	}
	return 0
}

func (s *scanner) skipLine() {
	for s.at < len(s.data) && s.data[s.at] != '\n' {
		s.at++
	}
}

func (s *scanner) skipBlock() {
	for s.at++; s.at < len(s.data); s.at++ {
		if s.data[s.at] == '\n' {
			s.line++
		}
		if s.data[s.at] == '/' && s.data[s.at-1] == '*' {
			s.at++
			return
		}
	}
}

// skipString moves behind a string whose opening quote has been read. A TOML literal string knows no escapes, and three
// quotes open a string that spans lines; any other string ends with its line at the latest.
func (s *scanner) skipString(quote byte) {
	long := s.comment == '#' && s.peek(0) == quote && s.peek(1) == quote
	if long {
		s.at += 2
	}
	escapes := quote == '"' || s.comment == '/'
	for s.at < len(s.data) {
		c := s.data[s.at]
		switch {
		case c == '\n' && !long:
			return
		case c == '\n':
			s.line++
		case c == '\\' && escapes && s.peek(1) != '\n':
			s.at++
		case c == quote && (!long || s.peek(1) == quote && s.peek(2) == quote):
			s.at++
			for long && s.peek(0) == quote { // the closing three, and up to two that belong to the text
				s.at++
			}
			return
		}
		s.at++
	}
}
