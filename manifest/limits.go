package manifest

import "time"

// Limits of what this package reads and writes. All are inclusive.
const (
	MaxFileSize      = 1 << 20  // bytes of a Cell.toml
	MaxPublishedSize = 8 << 20  // bytes of a Cell.json
	MaxSeedListSize  = 16 << 20 // bytes of an instances.json: MaxSeeds seeds with a full record each
	MaxLockSize      = 16 << 20 // bytes of a Cell.lock

	MaxSeeds       = 4096 // instances in one seed list
	MaxSeedAddrs   = 4    // addresses of one seed, as in an instance record
	MaxAddrSize    = 256  // bytes of one address as text
	MaxRecordSize  = 2048 // bytes of a signed record
	MaxCells       = 256  // cells that one Cell.toml or Cell.lock names
	MaxMirrors     = 16   // mirrors of one cell
	MaxTrustKeys   = 32   // publisher keys of one cell
	MaxBinaries    = 256  // binaries in one Cell.json
	MaxDescription = 1024 // bytes of a package description

	MaxInterfaces     = 256      // interface files that one cell names; what they import is beside it
	MaxImportRoots    = 16       // import roots of one cell
	MaxInterfaceFiles = 512      // interface files with everything that they import
	MaxInterfaceSize  = 1 << 20  // bytes of one interface file
	MaxInterfaceTotal = 8 << 20  // bytes of all of them together
	MaxInterfaceLine  = 16 << 10 // bytes of one of its lines: the compiler's cost grows with their square
	MaxInterfaceSet   = 2 << 20  // bytes of a compiled interface that an instance hands to a client
	MaxMethods        = 4096     // methods of one interface
	MaxFields         = 4096     // fields of one message, values of one enum
	MaxDepth          = 32       // nesting of messages, tables, arrays and dotted keys

	MaxNameSize = 48   // bytes of a cell's name
	MaxTagSize  = 255  // bytes of a tag
	MaxURLSize  = 2048 // bytes of a repository URL
	MaxPathSize = 512  // bytes of a path inside a repository

	// MaxLatencyLimit is the largest max_latency_ms: above an hour the key means "no limit", which is said by leaving
	// it out.
	MaxLatencyLimit = time.Hour

	maxNodes = 1 << 17 // values in one file
)
