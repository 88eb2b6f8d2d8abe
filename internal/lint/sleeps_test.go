package lint

import "testing"

func TestSleepsAreFoundWhereTimeIsReal(t *testing.T) {
	const head = "package a\nimport (\"testing\"; \"testing/synctest\"; \"time\")\n"
	for _, c := range []struct {
		name, file, text string
		want             []string
	}{
		{"in code that ships", "a/a.go", "func f() { time.Sleep(1) }", []string{"a/a.go:3: waits"}},
		{"by another name", "a/a.go", "import clock \"time\"\nfunc f() { clock.Sleep(1) }", []string{"a/a.go:4: waits"}},
		{"a lone time.After", "a/a.go", "func f() { <-time.After(1) }", []string{"a/a.go:3: waits"}},
		{"a timer in a select", "a/a.go", "func f() { select { case <-time.After(1): case <-done: } }", nil},
		{"something else called Sleep", "a/a.go", "func f(x clock) { x.Sleep(1) }", nil},

		{"in a test", "a/a_test.go", "func TestX(t *testing.T) { time.Sleep(1) }", []string{"a/a_test.go:3: sleeps"}},
		{"in a poll", "a/a_test.go", "func TestX(t *testing.T) { for !ok() { time.Sleep(1) } }", nil},
		{"after a turn of a poll", "a/a_test.go", "func TestX(t *testing.T) { for i := 0; !ok(i); time.Sleep(1) {} }", nil},
		{"in a counted loop", "a/a_test.go", "func TestX(t *testing.T) { for i < 10 { time.Sleep(1) } }", []string{"a/a_test.go:3: sleeps"}},
		{"in a bubble", "a/a_test.go", "func TestX(t *testing.T) { synctest.Test(t, func(t *testing.T) { time.Sleep(1) }) }", nil},
		{
			"beside a bubble", "a/a_test.go",
			"func TestX(t *testing.T) { synctest.Test(t, func(t *testing.T) {})\ntime.Sleep(1) }",
			[]string{"a/a_test.go:4: sleeps"},
		},
		{
			"in what only a bubble calls", "a/a_test.go",
			"func TestX(t *testing.T) { synctest.Test(t, func(t *testing.T) { wait() }) }\nfunc wait() { time.Sleep(1) }", nil,
		},
		{
			"in what a bubble and a test call", "a/a_test.go",
			"func TestX(t *testing.T) { synctest.Test(t, func(t *testing.T) { wait() }) }\nfunc TestY(t *testing.T) { wait() }\nfunc wait() { time.Sleep(1) }",
			[]string{"a/a_test.go:5: sleeps"},
		},
		{
			"in a method called two steps away", "a/a_test.go",
			"func TestY(t *testing.T) { step() }\nfunc step() { w.wait() }\nfunc (w world) wait() { time.Sleep(1) }",
			[]string{"a/a_test.go:5: sleeps"},
		},
		{
			"in a bubble that a function makes", "a/a_test.go",
			"func TestX(t *testing.T) { in(t, func() { time.Sleep(1) }) }\nfunc in(t *testing.T, f func()) { synctest.Test(t, func(t *testing.T) { f() }) }", nil,
		},
		{
			"in a named function handed to a bubble", "a/a_test.go",
			"func TestX(t *testing.T) { synctest.Test(t, body) }\nfunc body(t *testing.T) { time.Sleep(1) }", nil,
		},
		{
			"in the arguments of a bubble", "a/a_test.go",
			"func TestX(t *testing.T) { in(t, late(), func() {}) }\nfunc late() int { time.Sleep(1); return 1 }\nfunc in(t *testing.T, n int, f func()) { synctest.Test(t, func(t *testing.T) { f() }) }",
			[]string{"a/a_test.go:4: sleeps"},
		},
	} {
		t.Run(c.name, func(t *testing.T) { compare(t, Sleeps(newTestTree(t, c.file, head+c.text)), c.want) })
	}
}
