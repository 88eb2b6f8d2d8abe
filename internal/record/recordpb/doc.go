// Package recordpb is the wire form of the signed records, generated from record.proto.
package recordpb

//go:generate protoc -I ../../.. --go_out=../../.. --go_opt=module=github.com/cellnode/cellnode internal/record/recordpb/record.proto
