// Package linkpb is the wire form of cell/1's frames, generated from link.proto.
package linkpb

//go:generate protoc -I ../../.. --go_out=../../.. --go_opt=module=github.com/cellnode/cellnode internal/link/linkpb/link.proto
