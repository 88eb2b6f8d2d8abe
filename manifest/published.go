package manifest

// Published is a Cell.json: what cellnode publish derives from a repository at a tag, or what a hub answers for it.
// Readers can do without; whoever has the repository trusts that instead.
type Published struct {
	Name       string
	Repository string // canonical
	Tag        string
	Commit     string // 40 or 64 hex digits; empty in a file inside the repository, which cannot know it
	Interface  PublishedInterface
	Build      Build
	Trust      *Trust // nil: open
	Binaries   []Binary
	Files      map[string][]byte // Cell.toml and the interface files, by path; nil: not carried. UTF-8
}

// PublishedInterface is a cell's interface in two forms.
type PublishedInterface struct {
	Files       []string // as in [package] interface
	ImportRoots []string // as in [package] import_roots
	Fingerprint string   // 64 hex digits; empty: the cell declares none
	Descriptors []byte   // serialised FileDescriptorSet, or nil
}

// ParsePublished decodes and checks a Cell.json of at most MaxPublishedSize bytes. path is used in messages alone. The
// error is a *FileError.
func ParsePublished(path string, data []byte) (*Published, error) {
	root, err := parseJSON(path, data, MaxPublishedSize)
	if err != nil {
		return nil, err
	}
	if root.mustTable(); root.tree.err != nil {
		return nil, root.tree.failed()
	}
	p := &Published{
		Name:      root.text("name", 256),
		Commit:    readHex(root, "commit", 40, 64),
		Interface: readInterface(root.table("interface")),
		Build:     readBuild(root.table("build")),
		Trust:     readTrust(root.table("trust")),
		Binaries:  readBinaries(root),
		Files:     readFiles(root.table("files")),
	}
	if problem := nameProblem(p.Name); problem != "" {
		root.child("name").fail("%s", problem)
	}
	cell := readLockedCell(root)
	p.Repository, p.Tag = cell.Repository, cell.Tag
	root.refuseUnknown()
	if err := root.tree.failed(); err != nil {
		return nil, err
	}
	return p, nil
}

func readInterface(n *node) PublishedInterface {
	i := PublishedInterface{
		Files:       readPaths(n, "files", MaxInterfaces),
		ImportRoots: readPaths(n, "import_roots", MaxImportRoots),
		Fingerprint: readHex(n, "fingerprint", 64),
		Descriptors: readBase64(n, "descriptors", MaxPublishedSize),
	}
	n.refuseUnknown()
	if (len(i.Files) > 0) != (i.Fingerprint != "") {
		n.fail("needs both files and fingerprint, or neither")
	}
	return i
}

func readFiles(n *node) map[string][]byte {
	keys := n.keys()
	if len(keys) == 0 {
		return nil
	}
	if len(keys) > MaxInterfaceFiles+1 {
		n.fail("has %d files; at most %d are read", len(keys), MaxInterfaceFiles+1)
		return nil
	}
	files := make(map[string][]byte, len(keys))
	for _, path := range keys {
		if problem := pathProblem(path); problem != "" {
			n.child(path).fail("%s", problem)
		}
		files[path] = []byte(n.child(path).asText(MaxInterfaceSize))
	}
	return files
}
