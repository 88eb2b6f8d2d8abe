package sandbox

// order is what the owner tells init, as JSON on the control pipe. What follows on that pipe is one byte a command; its
// end is the owner's.
type order struct {
	Box     plain
	Walls   Walls
	Layers  Layers
	User    int      // user and group that the program gets; -1: init's own
	Binds   []bind   // what is mounted where, by our own namespaces
	Cgroups []string // cgroup.procs files that init enters (version 1)
	Watch   bool     // nothing else watches over memory
	Probe   bool     // put up the walls and end
}

// plain is the part of a Box that travels.
type plain struct {
	Args, Env                              []string
	Dir, Scratch, Copy, Collect            string
	Read, Write, Sockets, Layered, Devices []string
	Network, Open, HasReady, HasCollect    bool
	TellDenied                             bool
	Port                                   uint16
	CollectMax                             int64
	Limits                                 Limits
}

// bind shows what lies at From, its links resolved, at To.
type bind struct {
	From, To string
	Write    bool
	Device   bool
}

// answer is what init tells the owner, one JSON object a line: once when the program has started, and once at the end; and
// whenever the program was refused something, which may be before the first of these.
type answer struct {
	Denied  string `json:"denied,omitempty"`
	Started bool   `json:"started,omitempty"`
	Error   string `json:"error,omitempty"`
	Status  Status `json:"status"`
}

// The descriptors of init, and the commands on the control pipe.
const (
	controlFD = 3
	answerFD  = 4
	readyFD   = 5
	collectFD = 6

	commandTerminate = 't'

	marker = "(cellnode-sandbox)" // the one argument by which Init knows that it is init
)

// exitSetup is the exit code of an init that has said what is wrong.
const exitSetup = 125
