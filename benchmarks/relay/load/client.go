package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What a connection waits for.
const (
	closed = iota
	connecting
	upgrading
	greeting // milepost: hello is sent
	joining  // the task's state has not come yet
	live
	over // the task has ended, as this client was told
)

const restNs = 500_000

type position struct{ epoch, seq uint64 }

type connection struct {
	fd      int
	phase   int
	task    string
	rest    []byte // the beginning of a frame whose end has not come
	at      position
	known   bool // at is what the relay has told
	stopped bool // it is not read from
	ended   bool // the task's end was told, now or on a connection before
}

type client struct {
	address   syscall.SockaddrInet4
	host      string
	path      string
	milepost  bool
	token     string
	tasks     []string
	epoll     int
	all       []*connection
	byFd      map[int]*connection
	buffer    []byte
	waiting   []*connection // to be opened
	opening   int
	atOnce    int
	ready     int // connections that have the state of their task
	seen      figures
	opened    time.Time
	announce  bool
	say       func(any)
	clockBase int64
	clockZero time.Time
}

func newClient(address, path, dialect, token string, tasks []string) (*client, error) {
	tcp, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return nil, err
	}
	if len(tasks) == 0 {
		return nil, errors.New("there are no tasks in the file")
	}
	epoll, err := syscall.EpollCreate1(0)
	if err != nil {
		return nil, err
	}
	c := &client{
		host: address, path: path, milepost: dialect == "milepost", token: token, tasks: tasks, epoll: epoll,
		byFd: map[int]*connection{}, buffer: make([]byte, 1<<20),
	}
	c.address.Port = tcp.Port
	copy(c.address.Addr[:], tcp.IP.To4())
	c.clockBase, c.clockZero = monotonic(), time.Now()
	c.seen.reset()
	return c, nil
}

// now is CLOCK_MONOTONIC in nanoseconds, which every process of a machine shares; Python calls it monotonic_ns.
func (c *client) now() int64 { return c.clockBase + int64(time.Since(c.clockZero)) }

func (c *client) run(commands <-chan string, say func(any)) error {
	c.say = say
	events := make([]syscall.EpollEvent, 4096)
	for {
		// Not to wait in the kernel: whoever sends would pay for waking this thread up, each time, and clients elsewhere
		// cost it nothing like that. So what comes is found up to half a millisecond late.
		_ = syscall.Nanosleep(&syscall.Timespec{Nsec: restNs}, nil)
		n, err := syscall.EpollWait(c.epoll, events, 0)
		if err != nil && err != syscall.EINTR {
			return err
		}
		for _, event := range events[:max(n, 0)] {
			if conn := c.byFd[int(event.Fd)]; conn != nil {
				c.handle(conn, event.Events)
			}
		}
		c.openMore()
		select {
		case line, more := <-commands:
			if !more || line == "quit" {
				return nil
			}
			if err := c.command(strings.Fields(line)); err != nil {
				return err
			}
		default:
		}
	}
}

// command carries out one line:
//
//	open N K    open connections until there are N, at most K at a time; answered when each has its task's state
//	storm K F   cut all, open all again, at most K at a time; answered likewise. F is 1: they remember nothing and want
//	            the whole state; 0: they resume, and are ready when they have been told something
//	reset       forget what was seen
//	report      say what was seen since
//	stop N      read no more from the first N
//	resume      read from all
func (c *client) command(words []string) error {
	var numbers []int
	for _, word := range words[1:] {
		number, err := strconv.Atoi(word)
		if err != nil {
			return fmt.Errorf("%v: %w", words, err)
		}
		numbers = append(numbers, number)
	}
	switch {
	case words[0] == "open" && len(words) == 3:
		for n := len(c.all); n < numbers[0]; n++ {
			conn := &connection{task: c.tasks[n%len(c.tasks)]}
			c.all = append(c.all, conn)
			c.waiting = append(c.waiting, conn)
		}
		c.begin(numbers[1])
	case words[0] == "storm" && len(words) == 3:
		for _, conn := range c.all {
			c.cut(conn)
			conn.known = conn.known && numbers[1] == 0
			c.waiting = append(c.waiting, conn)
		}
		c.begin(numbers[0])
	case words[0] == "stop" && len(words) == 2:
		for _, conn := range c.all[:numbers[0]] {
			conn.stopped = true
			c.interest(conn, syscall.EPOLL_CTL_MOD, 0)
		}
		c.say(map[string]int{"stopped": numbers[0]})
	case words[0] == "resume":
		for _, conn := range c.all {
			if conn.stopped {
				conn.stopped = false
				c.interest(conn, syscall.EPOLL_CTL_MOD, syscall.EPOLLIN)
			}
		}
		c.say(map[string]int{"stopped": 0})
	case words[0] == "reset":
		c.seen.reset()
		c.say(map[string]bool{"reset": true})
	case words[0] == "report":
		report := c.seen.report()
		report["connections"], report["ready"] = len(c.all), c.ready
		ended := 0
		for _, conn := range c.all {
			if conn.ended {
				ended++
			}
		}
		report["ended"] = ended
		c.say(report)
	default:
		return fmt.Errorf("no such command: %v", words)
	}
	return nil
}

func (c *client) begin(atOnce int) {
	c.atOnce, c.opened, c.announce = max(atOnce, 1), time.Now(), true
}

func (c *client) openMore() {
	for c.opening < c.atOnce && len(c.waiting) > 0 {
		conn := c.waiting[0]
		c.waiting = c.waiting[1:]
		if err := c.open(conn); err != nil {
			c.seen.failed(err.Error())
			c.waiting = append(c.waiting, conn)
			return
		}
	}
	if c.announce && c.ready == len(c.all) {
		c.announce = false
		c.say(map[string]any{"ready": c.ready, "seconds": time.Since(c.opened).Seconds()})
	}
}

func (c *client) open(conn *connection) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if err := syscall.Connect(fd, &c.address); err != nil && err != syscall.EINPROGRESS {
		_ = syscall.Close(fd)
		return err
	}
	conn.fd, conn.phase, conn.rest = fd, connecting, conn.rest[:0]
	c.byFd[fd] = conn
	c.opening++
	c.interest(conn, syscall.EPOLL_CTL_ADD, syscall.EPOLLOUT)
	return nil
}

func (c *client) interest(conn *connection, what int, events uint32) {
	_ = syscall.EpollCtl(c.epoll, what, conn.fd, &syscall.EpollEvent{Events: events, Fd: int32(conn.fd)})
}

// cut closes a connection the hard way: what is on its way to it is lost.
func (c *client) cut(conn *connection) {
	if conn.phase == closed {
		return
	}
	_ = syscall.SetsockoptLinger(conn.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	c.forget(conn)
}

func (c *client) forget(conn *connection) {
	delete(c.byFd, conn.fd)
	_ = syscall.Close(conn.fd)
	if conn.phase < live {
		c.opening--
	} else {
		c.ready--
	}
	conn.phase = closed
}

// lost is a connection that the relay ended: it is opened again, and counted.
func (c *client) lost(conn *connection, why string) {
	c.seen.failed(why)
	c.forget(conn)
	c.waiting = append(c.waiting, conn)
}

func (c *client) handle(conn *connection, events uint32) {
	if conn.phase == connecting {
		if code, err := syscall.GetsockoptInt(conn.fd, syscall.SOL_SOCKET, syscall.SO_ERROR); err != nil || code != 0 {
			c.lost(conn, fmt.Sprintf("connect: %v", syscall.Errno(code)))
			return
		}
		conn.phase = upgrading
		c.interest(conn, syscall.EPOLL_CTL_MOD, syscall.EPOLLIN)
		c.send(conn, upgrade(c.host, strings.ReplaceAll(c.path, "{task}", conn.task), c.milepost))
		return
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLHUP|syscall.EPOLLERR) == 0 {
		return
	}
	kept := copy(c.buffer, conn.rest)
	conn.rest = conn.rest[:0]
	n, err := syscall.Read(conn.fd, c.buffer[kept:])
	if err == syscall.EAGAIN || err == syscall.EINTR {
		conn.rest = append(conn.rest, c.buffer[:kept]...)
		return
	}
	if n <= 0 {
		c.lost(conn, fmt.Sprintf("closed by the relay: %v", err))
		return
	}
	now := c.now()
	left := c.take(conn, c.buffer[:kept+n], now)
	if conn.phase != closed {
		conn.rest = append(conn.rest, left...)
	}
}

// take reads all whole frames in data and returns the rest.
func (c *client) take(conn *connection, data []byte, now int64) []byte {
	if conn.phase == upgrading {
		size, good := upgraded(data)
		if size == 0 {
			return data
		}
		if !good {
			c.lost(conn, "refused: "+strings.SplitN(string(data), "\r\n", 2)[0])
			return nil
		}
		data = data[size:]
		conn.phase = joining
		if c.milepost {
			conn.phase = greeting
			c.send(conn, textFrame(`{"t":"hello","token":"`+c.token+`"}`))
		}
	}
	for len(data) >= 2 {
		size, head := int(data[1]), 2
		switch size {
		case 126:
			if len(data) < 4 {
				return data
			}
			size, head = int(binary.BigEndian.Uint16(data[2:])), 4
		case 127:
			if len(data) < 10 {
				return data
			}
			size, head = int(binary.BigEndian.Uint64(data[2:])), 10
		}
		if len(data) < head+size {
			return data
		}
		payload := data[head : head+size]
		switch data[0] & 0x0f {
		case 1:
			c.seen.frames++
			c.seen.bytes += int64(head + size)
			if c.milepost {
				c.milepostFrame(conn, payload, now)
			} else {
				c.plainFrame(conn, payload, now)
			}
		case 8:
			reason := closeReason(payload)
			if strings.HasPrefix(reason, "45") { // docs/protocol.md: trying again would end the same way
				fail(errors.New("the relay closed a connection: " + reason))
			}
			c.lost(conn, "close frame: "+reason)
			return nil
		case 9:
			c.send(conn, frame(10, payload))
		}
		data = data[head+size:]
	}
	return data
}

func (c *client) send(conn *connection, data []byte) {
	// Small and seldom: a line that does not take these bytes at once is as good as broken.
	if n, err := syscall.Write(conn.fd, data); err != nil || n != len(data) {
		c.lost(conn, fmt.Sprintf("write: %v", err))
	}
}

// joined notes that a connection has its task's state.
func (c *client) joined(conn *connection) {
	if conn.phase < live {
		conn.phase = live
		c.opening--
		c.ready++
	}
}
