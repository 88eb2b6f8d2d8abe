//go:build unix

package spawn

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
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
