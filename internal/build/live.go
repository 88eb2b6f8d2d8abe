package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

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

const (
	liveTimeout = 10 * time.Second // for asking one instance
	maxReplies  = 2 * manifest.MaxInterfaceFiles
)

// LiveError says that instances serve something else than the repository says.
type LiveError struct {
	Name  string
	Wrong []string // "peer: what", sorted
}

func (e *LiveError) Error() string {
	return fmt.Sprintf("build: cell %s: what instances serve is not what the repository says: %s; tell who runs them, or leave them out with cellnode build --update",
		e.Name, strings.Join(e.Wrong, "; "))
}

// CheckLive is Check, and then asks every instance that may be used for its interface by gRPC's reflection. One that does
// not offer reflection is noted in its row.
func (b *Builder) CheckLive(ctx context.Context) ([]*Report, error) {
	reports, err := b.Check(ctx)
	if err != nil {
		return reports, err
	}
	if err := b.reopen(nil); err != nil {
		return reports, err
	}
	for _, r := range reports {
		if err := b.live(ctx, r); err != nil {
			return reports, err
		}
	}
	return reports, nil
}

func (b *Builder) live(ctx context.Context, r *Report) error {
	if r.facts == nil {
		return nil
	}
	wanted, err := compile(r.facts.file, r.facts.raw)
	if err != nil {
		return err
	}
	wanted = slices.DeleteFunc(wanted, func(f protoreflect.FileDescriptor) bool { return f.Services().Len() == 0 })
	var wrong []string
	for i := range r.Instances {
		row := &r.Instances[i]
		if row.Verdict != "used" || len(wanted) == 0 {
			continue
		}
		served, err := b.reflect(ctx, r.Name, *row, wanted)
		switch {
		case status.Code(err) == codes.Unimplemented:
			row.Verdict = "used; offers no reflection"
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("%s: %s", row.Peer, oneLine(err)))
		default:
			if breaking := manifest.Breaking(wanted, served); len(breaking) > 0 {
				row.Verdict = "serves another interface than it says"
				wrong = append(wrong, row.Peer+": "+strings.Join(breaking, ", "))
				continue
			}
			row.Verdict = "used; serves it"
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return &LiveError{r.Name, wrong}
	}
	return nil
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", " ") }

// reflect asks one instance for the files that declare the wanted services.
func (b *Builder) reflect(ctx context.Context, name string, row Row, wanted []protoreflect.FileDescriptor) ([]protoreflect.FileDescriptor, error) {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	cc, err := grpc.NewClient("passthrough:///"+name, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(manifest.MaxInterfaceTotal)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			if row.Path == "local" {
				return b.client.Dial(ctx, name)
			}
			return b.client.DialPeer(ctx, name, row.Peer)
		}))
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
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

var errNotServed = errors.New("build: the instance does not know it")

// asker collects the files that an instance's reflection answers with.
type asker struct {
	stream  grpc.BidiStreamingClient[reflectionpb.ServerReflectionRequest, reflectionpb.ServerReflectionResponse]
	files   map[string]*descriptorpb.FileDescriptorProto
	replies int
}

// ask takes the files of one answer, and asks for what they import.
func (a *asker) ask(q *reflectionpb.ServerReflectionRequest) error {
	if a.replies++; a.replies > maxReplies {
		return fmt.Errorf("build: the instance has more than %d interface files", manifest.MaxInterfaceFiles)
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
			return fmt.Errorf("build: the instance's interface: %w", err)
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
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("build: the instance's interface: %w", err)
	}
	var out []protoreflect.FileDescriptor
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		out = append(out, f)
		return true
	})
	return out, nil
}
