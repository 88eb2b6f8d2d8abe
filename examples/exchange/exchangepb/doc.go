// Package exchangepb holds the exchange's messages and gRPC stubs, generated from proto/exchange.proto.
package exchangepb
