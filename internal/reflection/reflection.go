// Package reflection asks a gRPC service what it serves, by gRPC's reflection, and holds the answer to an interface. It
// is told how to connect, so a service on this machine and one at the far end of cell/1 are asked alike.
package reflection

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/cellnode/cellnode/manifest"
)

// maxReplies bounds what one service is asked for.
const maxReplies = 2 * manifest.MaxInterfaceFiles

// ErrNone says that a service offers no reflection.
var ErrNone = errors.New("reflection: the service does not offer it")

// ContradictionError says that a service serves something else than its interface says.
type ContradictionError struct {
	Breaking []string // members that callers would miss, sorted
}

func (e *ContradictionError) Error() string {
	return "reflection: the service does not serve its interface: " + strings.Join(e.Breaking, ", ")
}

// HasServices reports whether there is anything to ask a service of this interface for.
func HasServices(wanted []protoreflect.FileDescriptor) bool {
	return slices.ContainsFunc(wanted, func(f protoreflect.FileDescriptor) bool { return f.Services().Len() > 0 })
}

// Check asks the service that dial leads to for the services of wanted. It returns nil when the service can be called as
// wanted says, a *ContradictionError when it cannot, and ErrNone when it does not offer reflection; any other error is
// about asking. What the service serves besides is its own affair. ctx bounds it.
func Check(ctx context.Context, dial func(context.Context) (net.Conn, error), wanted []protoreflect.FileDescriptor) error {
	wanted = slices.DeleteFunc(slices.Clone(wanted), func(f protoreflect.FileDescriptor) bool { return f.Services().Len() == 0 })
	served, err := files(ctx, dial, wanted)
	if status.Code(err) == codes.Unimplemented {
		return ErrNone
	}
	if err != nil {
		return err
	}
	if breaking := manifest.Breaking(wanted, served); len(breaking) > 0 {
		return &ContradictionError{breaking}
	}
	return nil
}

// files are those that declare the services of wanted, as the service has them, with what they import.
func files(ctx context.Context, dial func(context.Context) (net.Conn, error), wanted []protoreflect.FileDescriptor) ([]protoreflect.FileDescriptor, error) {
	ctx, cancel := context.WithCancel(ctx) // ends the stream
	defer cancel()
	cc, err := grpc.NewClient("passthrough:///service", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(manifest.MaxInterfaceTotal)),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	if err != nil {
		return nil, fmt.Errorf("reflection: %w", err)
	}
	defer cc.Close()
	stream, err := reflectionpb.NewServerReflectionClient(cc).ServerReflectionInfo(ctx)
	if err != nil {
		return nil, err
	}
	a := asker{stream: stream, files: map[string]*descriptorpb.FileDescriptorProto{}}
	for _, f := range wanted {
		for i := range f.Services().Len() {
			symbol := string(f.Services().Get(i).FullName())
			err := a.ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol}})
			if err != nil && !errors.Is(err, errNotServed) {
				return nil, err
			}
		}
	}
	return a.link()
}

var errNotServed = errors.New("reflection: the service does not know it")

// asker collects the files that reflection answers with.
type asker struct {
	stream  grpc.BidiStreamingClient[reflectionpb.ServerReflectionRequest, reflectionpb.ServerReflectionResponse]
	files   map[string]*descriptorpb.FileDescriptorProto
	replies int
}

// ask takes the files of one answer, and asks for what they import.
func (a *asker) ask(q *reflectionpb.ServerReflectionRequest) error {
	if a.replies++; a.replies > maxReplies {
		return fmt.Errorf("reflection: the service has more than %d interface files", manifest.MaxInterfaceFiles)
	}
	if err := a.stream.Send(q); err != nil && !errors.Is(err, io.EOF) { // with EOF, Recv has the reason
		return err
	}
	reply, err := a.stream.Recv()
	if err != nil {
		return err
	}
	found := reply.GetFileDescriptorResponse()
	if found == nil {
		return errNotServed
	}
	for _, data := range found.GetFileDescriptorProto() {
		f := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(data, f); err != nil {
			return fmt.Errorf("reflection: the service's interface: %w", err)
		}
		a.files[f.GetName()] = f
		for _, name := range f.GetDependency() {
			if a.files[name] != nil {
				continue
			}
			a.files[name] = &descriptorpb.FileDescriptorProto{} // asked for
			if err := a.ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileByFilename{FileByFilename: name}}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *asker) link() ([]protoreflect.FileDescriptor, error) {
	set := &descriptorpb.FileDescriptorSet{}
	for _, f := range a.files {
		set.File = append(set.File, f)
	}
	linked, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("reflection: the service's interface: %w", err)
	}
	var out []protoreflect.FileDescriptor
	linked.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		out = append(out, f)
		return true
	})
	return out, nil
}
