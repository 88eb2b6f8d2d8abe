package pipe

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
)

// Sizes in bytes. A connection that waits holds a small buffer, so that ten thousand idle ones cost 160 MB; one that
// fills it gets a large one for as long as its reads bring at least much, as those of a full TLS record do.
const (
	smallBuffer = 8 << 10
	largeBuffer = 64 << 10
	much        = 16 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

// copyStream passes bytes from src to dst until src ends, which is no error, or one of them fails.
func copyStream(dst, src net.Conn) (readErr, writeErr error) {
	dst, src = disarmed(dst), disarmed(src)
	if !canSplice(dst, src) {
		return copyBuffered(dst, src)
	}
	_, err := io.Copy(dst, src)
	// The kernel does both ends in one call. A broken pipe is always the write's; for the rest it does not matter.
	if errors.Is(err, syscall.EPIPE) {
		return nil, err
	}
	return err, nil
}

// canSplice says whether io.Copy moves bytes inside the kernel. For all other pairs it would take a buffer of its own.
func canSplice(dst, src net.Conn) bool {
	if runtime.GOOS != "linux" {
		return false
	}
	switch dst.(type) {
	case *net.TCPConn:
		return isTCP(src) || isUnixStream(src)
	case *net.UnixConn:
		return isTCP(src) && isUnixStream(dst)
	}
	return false
}

func isTCP(conn net.Conn) bool {
	_, ok := conn.(*net.TCPConn)
	return ok
}

func isUnixStream(conn net.Conn) bool {
	c, ok := conn.(*net.UnixConn)
	return ok && c.LocalAddr().Network() == "unix"
}

func copyBuffered(dst io.Writer, src io.Reader) (readErr, writeErr error) {
	small := smallBuffers.Get().(*[smallBuffer]byte)
	defer smallBuffers.Put(small)
	for {
		n, readErr, writeErr := copyOnce(dst, src, small[:])
		if n == len(small) && readErr == nil && writeErr == nil {
			readErr, writeErr = copyLarge(dst, src)
		}
		if writeErr != nil || readErr == io.EOF {
			return nil, writeErr
		}
		if readErr != nil {
			return readErr, nil
		}
	}
}

// copyLarge is for a src that has much to say; it returns when src pauses.
func copyLarge(dst io.Writer, src io.Reader) (readErr, writeErr error) {
	large := largeBuffers.Get().(*[largeBuffer]byte)
	defer largeBuffers.Put(large)
	for {
		n, readErr, writeErr := copyOnce(dst, src, large[:])
		if n < much || readErr != nil || writeErr != nil {
			return readErr, writeErr
		}
	}
}

// copyOnce passes on one read. Bytes that came together with an error are passed on too.
func copyOnce(dst io.Writer, src io.Reader, buffer []byte) (n int, readErr, writeErr error) {
	n, readErr = src.Read(buffer)
	if n > 0 {
		_, writeErr = dst.Write(buffer[:n])
	}
	return n, readErr, writeErr
}
