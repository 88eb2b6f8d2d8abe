// Package exchangepb is the trader's copy of the exchange's interface: messages and client stubs
// generated from the cell's proto/exchange.proto, so that the trader never imports the cell's module.
package exchangepb

//go:generate protoc -I ../../exchange --go_out=. --go_opt=Mproto/exchange.proto=github.com/cellnode/cellnode/examples/trader/exchangepb --go_opt=module=github.com/cellnode/cellnode/examples/trader/exchangepb --go-grpc_out=. --go-grpc_opt=Mproto/exchange.proto=github.com/cellnode/cellnode/examples/trader/exchangepb --go-grpc_opt=module=github.com/cellnode/cellnode/examples/trader/exchangepb ../../exchange/proto/exchange.proto
