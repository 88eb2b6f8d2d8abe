//go:build unix

package spawn

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// serviceMode names the variable by which the test binary knows that it is a service, and of what kind.
const serviceMode = "SPAWN_TEST_SERVICE"

// serve is a service; it does not return.
func serve(mode string) {
	fmt.Println("arguments:", strings.Join(os.Args[1:], " "))
	fmt.Println("name:", os.Getenv("CELL_NAME"))
	switch mode {
	case "dies":
		fmt.Println("no configuration")
		os.Exit(3)
	case "silent":
		select {}
	case "slow":
		time.Sleep(time.Second) //allow:sleep the service of a test that is about slow starts
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	}
	network, address := "unix", os.Getenv("CELL_SOCKET")
	if port := os.Getenv("CELL_PORT"); port != "" {
		network, address = "tcp", "127.0.0.1:"+port
	}
	l, err := net.Listen(network, address)
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	if mode == "web" {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(true)
		protocols.SetUnencryptedHTTP2(true)
		fmt.Println((&http.Server{Handler: moods(), Protocols: protocols}).Serve(l))
		os.Exit(2)
	}
	if mode == "tells" {
		fmt.Fprintln(os.NewFile(3, "ready"), "ready")
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			os.Exit(2)
		}
		go converse(conn)
	}
}

// moods answers GET /: it is well, until POST /ill makes it say that it is not, or POST /hang leaves every request without an
// answer. The answer counts the requests; that of GET /asked the health checks over HTTP/2.
func moods() http.Handler {
	var count, asked, ill, hang atomic.Int64
	web := http.NewServeMux()
	web.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		if hang.Load() > 0 {
			<-r.Context().Done()
			return
		}
		if ill.Load() > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, count.Add(1))
	})
	web.HandleFunc("POST /grpc.health.v1.Health/Check", func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusNotFound)
	})
	web.HandleFunc("GET /asked", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, asked.Load()) })
	web.HandleFunc("POST /ill", func(http.ResponseWriter, *http.Request) { ill.Store(1) })
	web.HandleFunc("POST /hang", func(http.ResponseWriter, *http.Request) { hang.Store(1) })
	return web
}

// converse does what each line says, and answers.
func converse(conn net.Conn) {
	defer conn.Close()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		switch line := lines.Text(); line {
		case "crash":
			os.Exit(5)
		case "child": // a process in a session of its own that has the connection too
			file, err := conn.(interface{ File() (*os.File, error) }).File()
			if err != nil {
				fmt.Fprintln(conn, err)
				return
			}
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = []string{serviceMode + "=silent"}
			cmd.ExtraFiles = []*os.File{file}
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			fmt.Fprintln(conn, cmd.Start())
		default:
			_, _ = io.WriteString(conn, line+"\n")
		}
	}
}
