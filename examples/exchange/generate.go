package exchange

//go:generate protoc -I . --go_out=. --go_opt=module=cell-hub.acme.com/acme/exchange --go-grpc_out=. --go-grpc_opt=module=cell-hub.acme.com/acme/exchange proto/exchange.proto
