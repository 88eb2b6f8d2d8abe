package manifest

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// interfaceText is the canonical text of an interface. Its form is frozen with its first line: a change to it changes
// every fingerprint. One block for each service, message, enum and extension, blocks sorted; a block's lines sorted by
// number, or by name where there are none.
func interfaceText(descriptors []protoreflect.FileDescriptor, opaque []string) string {
	w := walk{seen: map[protoreflect.FullName]bool{}}
	for _, d := range descriptors {
		w.extensions(d.Extensions())
		for i := range d.Services().Len() {
			w.service(d.Services().Get(i))
		}
		w.declared(d.Messages())
	}
	w.follow()
	for _, hash := range opaque {
		w.blocks = append(w.blocks, "file "+hash+"\n")
	}
	slices.Sort(w.blocks)
	return "cell/interface/v1\n" + strings.Join(w.blocks, "")
}

// walk collects a block for everything that it meets, once.
type walk struct {
	seen   map[protoreflect.FullName]bool
	queue  []protoreflect.MessageDescriptor // met, not yet described
	blocks []string
}

// first reports whether d is met for the first time. What every compiler brings along counts by its name alone.
func (w *walk) first(d protoreflect.Descriptor) bool {
	if w.seen[d.FullName()] || isStandard(d.ParentFile().Path()) {
		return false
	}
	w.seen[d.FullName()] = true
	return true
}

func (w *walk) service(s protoreflect.ServiceDescriptor) {
	if !w.first(s) {
		return
	}
	lines := make([]string, 0, s.Methods().Len())
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		lines = append(lines, methodLine(m))
		w.message(m.Input())
		w.message(m.Output())
	}
	slices.Sort(lines)
	w.block(fmt.Sprintf("service %s", s.FullName()), lines)
}

func methodLine(m protoreflect.MethodDescriptor) string {
	line := fmt.Sprintf("method %s in=%s out=%s", m.Name(), m.Input().FullName(), m.Output().FullName())
	if m.IsStreamingClient() {
		line += " client-stream"
	}
	if m.IsStreamingServer() {
		line += " server-stream"
	}
	if o, ok := m.Options().(*descriptorpb.MethodOptions); ok && o.GetIdempotencyLevel() != 0 {
		line += " " + strings.ToLower(o.GetIdempotencyLevel().String())
	}
	return line
}

// declared meets the messages of an interface file, nested ones and extensions among them.
func (w *walk) declared(list protoreflect.MessageDescriptors) {
	for i := range list.Len() {
		m := list.Get(i)
		w.message(m)
		w.declared(m.Messages())
		w.extensions(m.Extensions())
	}
}

func (w *walk) message(m protoreflect.MessageDescriptor) {
	if w.first(m) {
		w.queue = append(w.queue, m)
	}
}

// follow describes the messages that were met, and those met on the way. It is a loop because a chain of messages can
// be longer than a stack is deep.
func (w *walk) follow() {
	for len(w.queue) > 0 {
		m := w.queue[len(w.queue)-1]
		w.queue = w.queue[:len(w.queue)-1]
		lines := []string{}
		for _, f := range fieldsByNumber(m) {
			lines = append(lines, fieldLine(f))
			w.fieldType(f)
		}
		head := fmt.Sprintf("message %s", m.FullName())
		if m.IsMapEntry() {
			head += " map-entry"
		}
		w.block(head, lines)
	}
}

func fieldsByNumber(m protoreflect.MessageDescriptor) []protoreflect.FieldDescriptor {
	fields := make([]protoreflect.FieldDescriptor, m.Fields().Len())
	for i := range fields {
		fields[i] = m.Fields().Get(i)
	}
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number()) - int(b.Number()) })
	return fields
}

// fieldLine has what decides about a field's bytes and about the code made for it.
func fieldLine(f protoreflect.FieldDescriptor) string {
	line := fmt.Sprintf("field %d %s %s %s", f.Number(), f.Name(), f.Kind(), f.Cardinality())
	if f.HasPresence() {
		line += " presence"
	}
	if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
		line += fmt.Sprintf(" oneof=%s", o.Name())
	}
	switch {
	case f.Enum() != nil:
		line += fmt.Sprintf(" type=%s", f.Enum().FullName())
	case f.Message() != nil:
		line += fmt.Sprintf(" type=%s", f.Message().FullName())
	}
	if f.HasDefault() {
		line += fmt.Sprintf(" default=%q", defaultText(f))
	}
	return line
}

func defaultText(f protoreflect.FieldDescriptor) string {
	if v := f.DefaultEnumValue(); v != nil {
		return string(v.Name())
	}
	return f.Default().String()
}

func (w *walk) fieldType(f protoreflect.FieldDescriptor) {
	if f.Enum() != nil {
		w.enum(f.Enum())
	}
	if f.Message() != nil {
		w.message(f.Message())
	}
}

func (w *walk) extensions(list protoreflect.ExtensionDescriptors) {
	for i := range list.Len() {
		x := list.Get(i)
		if !w.first(x) {
			continue
		}
		w.block(fmt.Sprintf("extension %s of=%s", x.FullName(), x.ContainingMessage().FullName()), []string{fieldLine(x)})
		w.message(x.ContainingMessage())
		w.fieldType(x)
	}
}

func (w *walk) enum(e protoreflect.EnumDescriptor) {
	if !w.first(e) {
		return
	}
	values := make([]protoreflect.EnumValueDescriptor, e.Values().Len())
	for i := range values {
		values[i] = e.Values().Get(i)
	}
	slices.SortFunc(values, func(a, b protoreflect.EnumValueDescriptor) int {
		if a.Number() != b.Number() {
			return int(int64(a.Number()) - int64(b.Number()))
		}
		return strings.Compare(string(a.Name()), string(b.Name()))
	})
	head := fmt.Sprintf("enum %s", e.FullName())
	if e.IsClosed() { // the value declared first is what an absent field reads as
		head += fmt.Sprintf(" closed first=%s", e.Values().Get(0).Name())
	}
	lines := make([]string, len(values))
	for i, v := range values {
		lines[i] = fmt.Sprintf("value %d %s", v.Number(), v.Name())
	}
	w.block(head, lines)
}

func (w *walk) block(head string, lines []string) {
	w.blocks = append(w.blocks, head+"\n"+strings.Join(append(lines, ""), "\n"))
}
