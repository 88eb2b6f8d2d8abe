package home

import "io/fs"

// hasModes says whether permission bits mean anything here.
const hasModes = false

func ownerOf(fs.FileInfo) (uid int, known bool) { return 0, false }
