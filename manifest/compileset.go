package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// CompileSet is Compile together with the hashes of the interface files that are not protobuf: all that Fingerprint is
// made of.
func CompileSet(files map[string][]byte, interfaces, importRoots []string) (InterfaceSet, error) {
	var s InterfaceSet
	for _, f := range interfaces {
		data, ok := files[f]
		if !ok {
			return s, fmt.Errorf("manifest: %s: interface file is not there", f)
		}
		if !isProto(f) {
			sum := sha256.Sum256(data)
			s.Opaque = append(s.Opaque, hex.EncodeToString(sum[:]))
		}
	}
	var err error
	s.Files, err = Compile(files, interfaces, importRoots)
	return s, err
}
