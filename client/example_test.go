package client_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/cellnode/cellnode/client"
)

// A raw connection, for any protocol.
func ExampleDial() {
	conn, err := client.Dial(context.Background(), "exchange")
	if err != nil {
		fmt.Println(err) // names each way of finding and what it answered
		return
	}
	defer conn.Close()
	fmt.Fprintln(conn, "QUOTE ACME")
	answer, err := bufio.NewReader(conn).ReadString('\n')
	fmt.Println(answer, err)
}

// An HTTP service is called by the name of its cell.
func ExampleTransport() {
	hc := &http.Client{Transport: client.Transport()}
	resp, err := hc.Get("http://exchange.cell/v1/quote/ACME")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Println(string(body), err)
}

// Services that speak HTTP/2 are asked with it; all requests to one instance then share a connection.
func ExampleH2C() {
	hc := &http.Client{Transport: client.Transport(client.H2C())}
	resp, err := hc.Get("http://exchange.cell/v1/quote/ACME")
	if err == nil {
		fmt.Println(resp.Proto)
		resp.Body.Close()
	}
}
