package manifest

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Breaking lists what code made for the interface of was may not find, or find otherwise, in now: one line for each
// member, sorted; nil when was can be called as before. Additions break nothing. Both are what Compile returns. Names
// count as well as numbers, since code is made of names.
func Breaking(was, now []protoreflect.FileDescriptor) []string {
	c := comparison{now: map[protoreflect.FullName]protoreflect.Descriptor{}, seen: map[protoreflect.FullName]bool{}}
	c.index(now)
	for _, f := range was {
		for i := range f.Services().Len() {
			c.service(f.Services().Get(i))
		}
		c.extensions(f.Extensions())
		c.declared(f.Messages(), f.Enums())
	}
	slices.Sort(c.found)
	return c.found
}

type comparison struct {
	now   map[protoreflect.FullName]protoreflect.Descriptor
	seen  map[protoreflect.FullName]bool // messages and enums that have been compared
	found []string
}

// index notes the declarations of files and of those that they import, each file once: imports may meet again.
func (c *comparison) index(files []protoreflect.FileDescriptor) {
	queue, seen := slices.Clone(files), map[string]bool{}
	for len(queue) > 0 {
		f := queue[0]
		queue = queue[1:]
		if seen[f.Path()] || isStandard(f.Path()) {
			continue
		}
		seen[f.Path()] = true
		for i := range f.Services().Len() {
			c.now[f.Services().Get(i).FullName()] = f.Services().Get(i)
		}
		c.indexExtensions(f.Extensions())
		c.indexTypes(f.Messages(), f.Enums())
		for i := range f.Imports().Len() {
			queue = append(queue, f.Imports().Get(i).FileDescriptor)
		}
	}
}

func (c *comparison) indexExtensions(list protoreflect.ExtensionDescriptors) {
	for i := range list.Len() {
		c.now[list.Get(i).FullName()] = list.Get(i)
	}
}

func (c *comparison) indexTypes(messages protoreflect.MessageDescriptors, enums protoreflect.EnumDescriptors) {
	for i := range enums.Len() {
		c.now[enums.Get(i).FullName()] = enums.Get(i)
	}
	for i := range messages.Len() {
		m := messages.Get(i)
		c.now[m.FullName()] = m
		c.indexExtensions(m.Extensions())
		c.indexTypes(m.Messages(), m.Enums())
	}
}

func (c *comparison) declared(messages protoreflect.MessageDescriptors, enums protoreflect.EnumDescriptors) {
	for i := range enums.Len() {
		c.enum(enums.Get(i))
	}
	for i := range messages.Len() {
		c.message(messages.Get(i))
		c.extensions(messages.Get(i).Extensions())
		c.declared(messages.Get(i).Messages(), messages.Get(i).Enums())
	}
}

func (c *comparison) extensions(list protoreflect.ExtensionDescriptors) {
	for i := range list.Len() {
		was := list.Get(i)
		now, ok := c.now[was.FullName()].(protoreflect.ExtensionDescriptor)
		switch {
		case !ok || !now.IsExtension() || now.Number() != was.Number() || now.ContainingMessage().FullName() != was.ContainingMessage().FullName():
			c.breaks("extension %s is gone", was.FullName())
		case fieldType(now) != fieldType(was):
			c.breaks("extension %s is %s instead of %s", was.FullName(), fieldType(now), fieldType(was))
		}
		if was.Message() != nil {
			c.message(was.Message())
		}
		if was.Enum() != nil {
			c.enum(was.Enum())
		}
	}
}

func (c *comparison) breaks(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

func (c *comparison) service(was protoreflect.ServiceDescriptor) {
	now, ok := c.now[was.FullName()].(protoreflect.ServiceDescriptor)
	if !ok {
		c.breaks("service %s is gone", was.FullName())
		return
	}
	for i := range was.Methods().Len() {
		m := was.Methods().Get(i)
		n := now.Methods().ByName(m.Name())
		switch {
		case n == nil:
			c.breaks("method %s is gone", m.FullName())
			continue
		case n.IsStreamingClient() != m.IsStreamingClient() || n.IsStreamingServer() != m.IsStreamingServer():
			c.breaks("method %s streams otherwise", m.FullName())
		case n.Input().FullName() != m.Input().FullName():
			c.breaks("method %s takes %s instead of %s", m.FullName(), n.Input().FullName(), m.Input().FullName())
		case n.Output().FullName() != m.Output().FullName():
			c.breaks("method %s returns %s instead of %s", m.FullName(), n.Output().FullName(), m.Output().FullName())
		case repeatable(m) && !repeatable(n):
			c.breaks("method %s may not be repeated any more", m.FullName())
		}
		c.message(m.Input())
		c.message(m.Output())
	}
}

// repeatable reports whether a call may be made again when its first answer was lost: generated clients rely on it.
func repeatable(m protoreflect.MethodDescriptor) bool {
	o, ok := m.Options().(*descriptorpb.MethodOptions)
	return ok && o.GetIdempotencyLevel() != descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
}

// message compares a message and, in a loop, all that it reaches.
func (c *comparison) message(was protoreflect.MessageDescriptor) {
	queue := []protoreflect.MessageDescriptor{was}
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		if c.seen[m.FullName()] || isStandard(m.ParentFile().Path()) {
			continue
		}
		c.seen[m.FullName()] = true
		now, ok := c.now[m.FullName()].(protoreflect.MessageDescriptor)
		if !ok {
			c.breaks("message %s is gone", m.FullName())
			continue
		}
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			c.field(f, now)
			if f.Message() != nil {
				queue = append(queue, f.Message())
			}
			if f.Enum() != nil {
				c.enum(f.Enum())
			}
		}
		c.required(m, now)
	}
}

func (c *comparison) field(was protoreflect.FieldDescriptor, in protoreflect.MessageDescriptor) {
	now := in.Fields().ByNumber(was.Number())
	switch {
	case now == nil:
		c.breaks("field %s is gone", was.FullName())
	case now.Name() != was.Name():
		c.breaks("field %s is called %s", was.FullName(), now.Name())
	case fieldType(now) != fieldType(was):
		c.breaks("field %s is %s instead of %s", was.FullName(), fieldType(now), fieldType(was))
	case now.HasPresence() != was.HasPresence() || oneofName(now) != oneofName(was):
		c.breaks("field %s is optional, or in a oneof, otherwise than before", was.FullName())
	}
}

// required finds new fields without which an instance takes no message.
func (c *comparison) required(was, now protoreflect.MessageDescriptor) {
	for i := range now.Fields().Len() {
		f := now.Fields().Get(i)
		if f.Cardinality() == protoreflect.Required && was.Fields().ByNumber(f.Number()) == nil {
			c.breaks("field %s is new and required", f.FullName())
		}
	}
}

func fieldType(f protoreflect.FieldDescriptor) string {
	text := f.Kind().String()
	switch {
	case f.Message() != nil:
		text = string(f.Message().FullName())
	case f.Enum() != nil:
		text = string(f.Enum().FullName())
	}
	if f.Cardinality() != protoreflect.Optional {
		text = f.Cardinality().String() + " " + text
	}
	return text
}

func oneofName(f protoreflect.FieldDescriptor) protoreflect.Name {
	if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
		return o.Name()
	}
	return ""
}

func (c *comparison) enum(was protoreflect.EnumDescriptor) {
	if c.seen[was.FullName()] || isStandard(was.ParentFile().Path()) {
		return
	}
	c.seen[was.FullName()] = true
	now, ok := c.now[was.FullName()].(protoreflect.EnumDescriptor)
	if !ok {
		c.breaks("enum %s is gone", was.FullName())
		return
	}
	for i := range was.Values().Len() {
		v := was.Values().Get(i)
		if n := now.Values().ByName(v.Name()); n == nil {
			c.breaks("value %s is gone", v.FullName())
		} else if n.Number() != v.Number() {
			c.breaks("value %s is %d instead of %d", v.FullName(), n.Number(), v.Number())
		}
	}
}
