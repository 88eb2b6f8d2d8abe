package manifest

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Breaking lists what code made for the interface of was may not find, or find otherwise, in now: one line for each
// member, sorted; nil when was can be called as before. Additions break nothing. Both are what Compile returns. Names
// count as well as numbers, since code is made of names.
func Breaking(was, now []protoreflect.FileDescriptor) []string {
	c := comparison{now: map[protoreflect.FullName]protoreflect.Descriptor{}, seen: map[protoreflect.FullName]bool{}}
	for _, f := range now {
		c.index(f)
	}
	for _, f := range was {
		for i := range f.Services().Len() {
			c.service(f.Services().Get(i))
		}
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

// index notes the declarations of a file and of those that it imports.
func (c *comparison) index(f protoreflect.FileDescriptor) {
	for i := range f.Services().Len() {
		c.now[f.Services().Get(i).FullName()] = f.Services().Get(i)
	}
	c.indexTypes(f.Messages(), f.Enums())
	for i := range f.Imports().Len() {
		if to := f.Imports().Get(i); !isStandard(to.Path()) {
			c.index(to)
		}
	}
}

func (c *comparison) indexTypes(messages protoreflect.MessageDescriptors, enums protoreflect.EnumDescriptors) {
	for i := range enums.Len() {
		c.now[enums.Get(i).FullName()] = enums.Get(i)
	}
	for i := range messages.Len() {
		m := messages.Get(i)
		c.now[m.FullName()] = m
		c.indexTypes(m.Messages(), m.Enums())
	}
}

func (c *comparison) declared(messages protoreflect.MessageDescriptors, enums protoreflect.EnumDescriptors) {
	for i := range enums.Len() {
		c.enum(enums.Get(i))
	}
	for i := range messages.Len() {
		c.message(messages.Get(i))
		c.declared(messages.Get(i).Messages(), messages.Get(i).Enums())
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
		}
		c.message(m.Input())
		c.message(m.Output())
	}
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
