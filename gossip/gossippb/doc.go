// Package gossippb is the wire form of gossip's messages, generated from gossip.proto.
package gossippb

//go:generate protoc -I ../.. --go_out=../.. --go_opt=module=github.com/cellnode/cellnode gossip/gossippb/gossip.proto
