package manifest

import "time"

// Dependency is a cell that a consumer uses: one [cell.NAME] of its Cell.toml.
type Dependency struct {
	Name    string   // local name, see CheckName
	Git     string   // where to fetch the repository, as written; passes FetchURL
	Tag     string   // one exact tag
	Mirrors []string // other places to fetch the same repository from; each passes FetchURL
	Path    string   // development: the checkout to use, as written (relative to the Cell.toml); empty: none
	Clone   bool     // development: make that checkout
	Policy  Policy
	Cell    Cell // Git and Tag, canonical
}

// Policy says when a cell may be used from afar and when it is started here. The zero value is what a Cell.toml
// without a policy means.
type Policy struct {
	MaxLatency    *time.Duration // best round trip above this: too far. Nil: no limit
	AutoSpawn     bool           // too far, or no answer: build it and start it here
	OfflineVendor bool           // the build step opens no network socket and reads Cell.lock and cellvendor/ alone
	AllowOpen     bool           // accept a cell that names no publishers
	Sandbox       string         // "none": start it here even when no sandbox can be had. Empty: refuse then
	Share         bool           // what is started here serves other machines too, if it may
	Binary        string         // ready-made binaries: "verify", "rebuild", "source-only"; empty: verify
}

func readDependency(name string, n *node) Dependency {
	d := Dependency{
		Name:   name,
		Git:    n.text("git", MaxURLSize),
		Tag:    readTag(n),
		Path:   n.text("path", 4096),
		Clone:  n.boolean("clone"),
		Policy: readPolicy(n.table("policy")),
	}
	d.Mirrors = readMirrors(n)
	n.refuseUnknown()
	if problem := nameProblem(name); problem != "" {
		n.fail("%s", problem)
	}
	if n.child("path").present() && d.Path == "" {
		n.child("path").fail("is empty; write the folder of the checkout, or leave the key out")
	}
	d.Cell = readIdentity(n, d)
	return d
}

// readTag refuses version ranges, and the keys of package managers that stand for something other than a tag.
func readTag(n *node) string {
	for _, key := range []string{"version", "branch", "rev", "commit"} {
		if v := n.peek(key); v != nil {
			v.fail(`is not read: a cell is one tag; write tag = "v1.3.0" (Cell.lock pins the commit)`)
		}
	}
	tag := n.text("tag", 4096)
	if c := n.child("tag"); c.present() {
		if problem := tagProblem(tag); problem != "" {
			c.fail("%s", problem)
		}
	}
	return tag
}

// readIdentity checks that git and tag are there and what they say.
func readIdentity(n *node, d Dependency) Cell {
	git := n.child("git")
	switch {
	case !git.present():
		n.fail(`has no git; write git = "https://…", the cell's repository`)
		return Cell{}
	case !n.child("tag").present():
		n.fail(`has no tag; write tag = "v1.3.0", the one version to use`)
		return Cell{}
	}
	if err := FetchURL(d.Git); err != nil {
		git.fail("%s", problem(err))
		return Cell{}
	}
	cell, err := NewCell(d.Git, d.Tag)
	if err != nil {
		n.fail("%s", problem(err))
	}
	return cell
}

func readMirrors(n *node) []string {
	mirrors := n.texts("mirrors", MaxMirrors, MaxURLSize)
	for _, m := range mirrors {
		if err := FetchURL(m); err != nil {
			n.child("mirrors").fail("has %s", problem(err))
		}
	}
	return mirrors
}

func readPolicy(n *node) Policy {
	p := Policy{
		AutoSpawn:     n.boolean("auto_spawn"),
		OfflineVendor: n.boolean("offline_vendor"),
		AllowOpen:     n.boolean("allow_open"),
		Share:         n.boolean("share"),
		Sandbox:       n.oneOf("sandbox", "none"),
		Binary:        n.oneOf("binary", "verify", "rebuild", "source-only"),
	}
	if ms, ok := n.integer("max_latency_ms", 0, MaxLatencyLimit.Milliseconds()); ok {
		limit := time.Duration(ms) * time.Millisecond
		p.MaxLatency = &limit
	}
	n.refuseUnknown()
	return p
}
