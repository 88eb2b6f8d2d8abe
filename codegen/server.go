package codegen

import (
	"strconv"

	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/types/descriptorpb"
)

func quote(s string) string { return strconv.Quote(s) }

func isDeprecated(m *protogen.Method) bool {
	o, ok := m.Desc.Options().(*descriptorpb.MethodOptions)
	return ok && o.GetDeprecated()
}

func isDeprecatedService(s *protogen.Service) bool {
	o, ok := s.Desc.Options().(*descriptorpb.ServiceOptions)
	return ok && o.GetDeprecated()
}

// serverSide writes what an instance implements. A consumer uses it for stand-ins in tests.
func (s *stub) serverSide() {
	name := s.service.GoName
	s.P()
	s.P("// ", name, "Server is what serves ", name, ". Implementations embed Unimplemented", name, "Server, so that they keep")
	s.P("// compiling when methods are added.")
	s.deprecated(isDeprecatedService(s.service))
	s.P("type ", name, "Server interface {")
	for _, m := range s.service.Methods {
		s.deprecated(isDeprecated(m))
		s.P(s.serverSignature(m))
	}
	s.P("mustEmbedUnimplemented", name, "Server()")
	s.P("}")
	s.P()
	s.unimplemented()
	s.P("// Unsafe", name, "Server may be embedded instead by who wants added methods to be compile errors.")
	s.P("type Unsafe", name, "Server interface { mustEmbedUnimplemented", name, "Server() }")
	s.P()
	s.P("// Register", name, "Server lets srv serve ", name, " on s.")
	s.deprecated(isDeprecatedService(s.service))
	s.P("func Register", name, "Server(s ", grpcPkg.Ident("ServiceRegistrar"), ", srv ", name, "Server) {")
	s.P("// A nil pointer to Unimplemented", name, "Server would panic at the first call of a missing method: better now.")
	s.P("if t, ok := srv.(interface{ testEmbeddedByValue() }); ok {")
	s.P("t.testEmbeddedByValue()")
	s.P("}")
	s.P("s.RegisterService(&", name, "_ServiceDesc, srv)")
	s.P("}")
	for _, m := range s.service.Methods {
		s.handler(m)
	}
	s.description()
}

// serverSignature is a method of the server without func and receiver.
func (s *stub) serverSignature(m *protogen.Method) string {
	in := "*" + s.QualifiedGoIdent(m.Input.GoIdent)
	switch {
	case !s.isStream(m):
		return m.GoName + "(" + s.QualifiedGoIdent(contextPkg.Ident("Context")) + ", " + in + ") (*" + s.QualifiedGoIdent(m.Output.GoIdent) + ", error)"
	case m.Desc.IsStreamingClient():
		return m.GoName + "(" + s.stream(m, "Server") + ") error"
	}
	return m.GoName + "(" + in + ", " + s.stream(m, "Server") + ") error"
}

func (s *stub) unimplemented() {
	name := "Unimplemented" + s.service.GoName + "Server"
	s.P("// ", name, " answers every call with codes.Unimplemented. Embed it by value.")
	s.P("type ", name, " struct{}")
	for _, m := range s.service.Methods {
		result := "nil, "
		if s.isStream(m) {
			result = ""
		}
		s.P("func (", name, ") ", s.serverSignature(m), " {")
		s.P("return ", result, statusPkg.Ident("Error"), "(", codesPkg.Ident("Unimplemented"), ", ", quote("method "+string(m.Desc.Name())+" not implemented"), ")")
		s.P("}")
	}
	s.P("func (", name, ") mustEmbed", name, "() {}")
	s.P("func (", name, ") testEmbeddedByValue() {}")
	s.P()
}

func (s *stub) handlerName(m *protogen.Method) string {
	return "_" + s.service.GoName + "_" + m.GoName + "_Handler"
}

func (s *stub) handler(m *protogen.Method) {
	s.P()
	server := s.service.GoName + "Server"
	if s.isStream(m) {
		s.streamHandler(m, server)
		return
	}
	s.P("func ", s.handlerName(m), "(srv any, ctx ", contextPkg.Ident("Context"), ", dec func(any) error, interceptor ", grpcPkg.Ident("UnaryServerInterceptor"), ") (any, error) {")
	s.P("in := new(", m.Input.GoIdent, ")")
	s.P("if err := dec(in); err != nil {")
	s.P("return nil, err")
	s.P("}")
	s.P("if interceptor == nil {")
	s.P("return srv.(", server, ").", m.GoName, "(ctx, in)")
	s.P("}")
	s.P("info := &", grpcPkg.Ident("UnaryServerInfo"), "{Server: srv, FullMethod: ", s.fullMethod(m), "}")
	s.P("return interceptor(ctx, in, info, func(ctx ", contextPkg.Ident("Context"), ", req any) (any, error) {")
	s.P("return srv.(", server, ").", m.GoName, "(ctx, req.(*", m.Input.GoIdent, "))")
	s.P("})")
	s.P("}")
}

func (s *stub) streamHandler(m *protogen.Method, server string) {
	generic := s.QualifiedGoIdent(grpcPkg.Ident("GenericServerStream")) + "[" + s.QualifiedGoIdent(m.Input.GoIdent) + ", " + s.QualifiedGoIdent(m.Output.GoIdent) + "]"
	s.P("func ", s.handlerName(m), "(srv any, stream ", grpcPkg.Ident("ServerStream"), ") error {")
	if m.Desc.IsStreamingClient() {
		s.P("return srv.(", server, ").", m.GoName, "(&", generic, "{ServerStream: stream})")
	} else {
		s.P("in := new(", m.Input.GoIdent, ")")
		s.P("if err := stream.RecvMsg(in); err != nil {")
		s.P("return err")
		s.P("}")
		s.P("return srv.(", server, ").", m.GoName, "(in, &", generic, "{ServerStream: stream})")
	}
	s.P("}")
	s.P()
	s.P("// ", s.service.GoName, "_", m.GoName, "Server is the service's end of a ", m.GoName, " stream.")
	s.P("type ", s.service.GoName, "_", m.GoName, "Server = ", s.stream(m, "Server"))
}

func (s *stub) description() {
	name := s.service.GoName
	s.P()
	s.P("// ", name, "_ServiceDesc describes ", name, " to gRPC. It is not to be changed.")
	s.P("var ", name, "_ServiceDesc = ", grpcPkg.Ident("ServiceDesc"), "{")
	s.P("ServiceName: ", quote(string(s.service.Desc.FullName())), ",")
	s.P("HandlerType: (*", name, "Server)(nil),")
	s.P("Methods: []", grpcPkg.Ident("MethodDesc"), "{")
	for _, m := range s.service.Methods {
		if !s.isStream(m) {
			s.P("{MethodName: ", quote(string(m.Desc.Name())), ", Handler: ", s.handlerName(m), "},")
		}
	}
	s.P("},")
	s.P("Streams: []", grpcPkg.Ident("StreamDesc"), "{")
	for _, m := range s.service.Methods {
		if s.isStream(m) {
			s.P("{")
			s.P("StreamName: ", quote(string(m.Desc.Name())), ",")
			s.P("Handler: ", s.handlerName(m), ",")
			s.P("ServerStreams: ", m.Desc.IsStreamingServer(), ",")
			s.P("ClientStreams: ", m.Desc.IsStreamingClient(), ",")
			s.P("},")
		}
	}
	s.P("},")
	s.P("Metadata: ", quote(s.service.Location.SourceFile), ",")
	s.P("}")
}
