package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// service is the service beside which the scripts run the command: it sends back every line. It listens on CELL_SOCKET,
// or on a free TCP port that it prints, and ends badly when it is sent the line "die". With an argument it does something
// else:
//
//	die           ends badly at once
//	deaf          never listens
//	slow          listens, and does not end when it is asked to
//	grpc FILE     serves gRPC, with reflection of the services in a .proto file, and answers none of their calls
//	http DIR      serves the files of a folder over HTTP, Cell.json and instances.json as what they are
//	call ADDRESS  is no service but a client: it makes a call and never ends it
func service() {
	switch strings.Join(os.Args[1:min(2, len(os.Args))], "") {
	case "die":
		fmt.Fprintln(os.Stderr, "service: the disk is full")
		os.Exit(3)
	case "deaf":
		select {}
	case "slow":
		signal.Ignore(syscall.SIGTERM)
	case "call":
		call(os.Args[2])
	}
	network, address := "tcp", "127.0.0.1:0"
	if socket := os.Getenv("CELL_SOCKET"); socket != "" {
		network, address = "unix", socket
	}
	l, err := net.Listen(network, address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(9)
	}
	fmt.Println(l.Addr())
	if len(os.Args) == 3 && os.Args[1] == "grpc" {
		fmt.Fprintln(os.Stderr, serveReflection(l, os.Args[2]))
		os.Exit(9)
	}
	if len(os.Args) == 3 && os.Args[1] == "http" {
		fmt.Fprintln(os.Stderr, http.Serve(l, folder(os.Args[2])))
		os.Exit(9)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(9)
		}
		go answer(c)
	}
}

// folder serves the files below a folder as any web server does that was told what a cell's files are.
func folder(dir string) http.Handler {
	files := http.FileServer(http.Dir(dir))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := path.Base(r.URL.Path); name == "Cell.json" || name == "instances.json" {
			w.Header().Set("Content-Type", source.MediaType)
		}
		files.ServeHTTP(w, r)
	})
}

// serveReflection describes the services of a .proto file to whoever asks.
func serveReflection(l net.Listener, path string) error {
	server := grpc.NewServer()
	reflectionpb.RegisterServerReflectionServer(server, reflection.NewServerV1(reflection.ServerOptions{Services: server, DescriptorResolver: reread(path)}))
	return server.Serve(l)
}

// reread is a .proto file, read again for each question: a service that is exchanged under its node.
type reread string

func (path reread) files() (*protoregistry.Files, error) {
	data, err := os.ReadFile(string(path))
	if err != nil {
		return nil, err
	}
	compiled, err := manifest.Compile(map[string][]byte{"a.proto": data}, []string{"a.proto"}, nil)
	if err != nil {
		return nil, err
	}
	files := new(protoregistry.Files)
	return files, files.RegisterFile(compiled[0])
}

func (path reread) FindFileByPath(name string) (protoreflect.FileDescriptor, error) {
	files, err := path.files()
	if err != nil {
		return nil, err
	}
	return files.FindFileByPath(name)
}

func (path reread) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	files, err := path.files()
	if err != nil {
		return nil, err
	}
	return files.FindDescriptorByName(name)
}

func answer(c net.Conn) {
	defer c.Close()
	for lines := bufio.NewScanner(c); lines.Scan(); fmt.Fprintln(c, lines.Text()) {
		if lines.Text() == "die" {
			fmt.Fprintln(os.Stderr, "service: told to die")
			os.Exit(3)
		}
	}
}

func call(address string) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(9)
	}
	fmt.Fprintln(c, "is anybody there?")
	line, err := bufio.NewReader(c).ReadString('\n')
	fmt.Println("connected", line, err)
	select {}
}

// echoes asks for one line back; with a second argument it sends that line and wants none.
func echoes(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: echoes ADDRESS [LINE]")
	}
	network, address := "tcp", args[0]
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := net.DialTimeout(network, address, patience)
	ts.Check(err)
	defer c.Close()
	ts.Check(c.SetDeadline(time.Now().Add(patience)))
	line := "is anybody there?\n"
	if len(args) == 2 {
		line = args[1] + "\n"
	}
	_, err = io.WriteString(c, line)
	ts.Check(err)
	answer, err := bufio.NewReader(c).ReadString('\n')
	if len(args) == 1 && answer != line {
		ts.Fatalf("sent %q, came %q, %v", line, answer, err)
	}
}

// found checks the last standard output against the form that the issue tracker of this project promises for find.
func found(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: found N")
	}
	var reply struct {
		Cell, CID *string
		Instances *[]struct {
			Peer, State, Path, Commit, Fingerprint *string
			RTT                                    *float64 `json:"rtt_ms"`
			Addrs, Sources                         *[]string
			Since                                  *time.Time
		}
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &reply))
	if reply.Cell == nil || reply.CID == nil || reply.Instances == nil || len(*reply.Instances) != number(ts, args[0]) {
		ts.Fatalf("want cell, cid and %s instances", args[0])
	}
	for _, i := range *reply.Instances {
		if i.Peer == nil || i.State == nil || i.Path == nil || i.Commit == nil || i.Fingerprint == nil ||
			i.RTT == nil || i.Addrs == nil || i.Sources == nil || i.Since == nil {
			ts.Fatalf("an instance lacks a field")
		}
	}
}
