package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
)

var (
	atMark      = []byte(`"at":[`)
	prevMark    = []byte(`"prev":`)
	kindMark    = []byte(`"kind":"`)
	mergedMark  = []byte(`,"merged":`)
	resetMark   = []byte(`,"reset":true`)
	messageMark = []byte(`"message":"@`) // followed by CLOCK_MONOTONIC in nanoseconds, as the publisher took it
	evHead      = []byte(`{"t":"ev"`)
	snapHead    = []byte(`{"t":"snap"`)
	endHead     = []byte(`{"t":"end"`)
	pingFrame   = []byte(`{"t":"ping"}`)
	welcomeHead = []byte(`{"t":"welcome"`)
	errHead     = []byte(`{"t":"err"`)
)

// milepostFrame follows docs/protocol.md as far as the figures need it.
func (c *client) milepostFrame(conn *connection, text []byte, now int64) {
	switch {
	case bytes.HasPrefix(text, evHead):
		at := positionAfter(text, atMark)
		prev := positionAfter(text, prevMark)
		if !conn.known || prev != conn.at {
			c.seen.gaps++
		}
		conn.at, conn.known = at, true
		c.joined(conn)
		c.seen.events++
		if i := bytes.LastIndex(text, mergedMark); i >= 0 {
			c.seen.merged += int64(number(text[i+len(mergedMark):]))
		}
		c.seen.told(text, now)
		c.ending(conn, text)
	case bytes.HasPrefix(text, snapHead):
		c.seen.snaps++
		if bytes.Contains(text, resetMark) {
			c.seen.resets++
		}
		at := positionAfter(text, atMark)
		if conn.known && before(at, conn.at) {
			c.seen.backwards++
		}
		conn.at, conn.known = at, true
		c.joined(conn)
	case bytes.HasPrefix(text, endHead):
		c.joined(conn)
		conn.phase, conn.ended = over, true
	case bytes.Equal(text, pingFrame):
		c.send(conn, textFrame(`{"t":"pong"}`))
	case bytes.HasPrefix(text, welcomeHead):
		conn.phase = joining
		c.send(conn, textFrame(c.subscribe(conn)))
	case bytes.HasPrefix(text, errHead):
		c.seen.failed(string(text))
	}
}

func (c *client) subscribe(conn *connection) string {
	if conn.known {
		return fmt.Sprintf(`{"t":"sub","id":1,"task":"%s","from":[%d,%d]}`, conn.task, conn.at.epoch, conn.at.seq)
	}
	return fmt.Sprintf(`{"t":"sub","id":1,"task":"%s"}`, conn.task)
}

// plainFrame takes an event of a relay without a protocol: its numbers must follow each other.
func (c *client) plainFrame(conn *connection, text []byte, now int64) {
	at := positionAfter(text, atMark)
	if conn.known && conn.phase == live && at.seq > conn.at.seq+1 {
		c.seen.gaps++
	}
	if conn.known && before(at, conn.at) {
		c.seen.backwards++
	}
	first := conn.phase < live
	conn.at, conn.known = at, true
	c.joined(conn)
	if first { // the state that a client is shown on joining
		c.seen.snaps++
	} else {
		c.seen.events++
		c.seen.told(text, now)
	}
	c.ending(conn, text)
}

func (c *client) ending(conn *connection, text []byte) {
	if i := bytes.Index(text, kindMark); i >= 0 && bytes.HasPrefix(text[i+len(kindMark):], []byte("succeeded")) {
		conn.ended = true
	}
}

// positionAfter reads [epoch,seq] behind a mark; {0,0} for null or nothing.
func positionAfter(text, mark []byte) position {
	i := bytes.Index(text, mark)
	if i < 0 {
		return position{}
	}
	text = text[i+len(mark):]
	if text[0] == '[' {
		text = text[1:]
	}
	comma := bytes.IndexByte(text, ',')
	if comma < 0 || text[0] == 'n' {
		return position{}
	}
	return position{number(text), number(text[comma+1:])}
}

func before(a, b position) bool { return a.epoch < b.epoch || a.epoch == b.epoch && a.seq < b.seq }

func number(text []byte) uint64 {
	var value uint64
	for _, digit := range text {
		if digit < '0' || digit > '9' {
			break
		}
		value = value*10 + uint64(digit-'0')
	}
	return value
}

func upgrade(host, path string, milepost bool) []byte {
	protocol := ""
	if milepost {
		protocol = "Sec-WebSocket-Protocol: milepost.v1\r\n"
	}
	key := base64.StdEncoding.EncodeToString([]byte("a key of 16 byte"))
	return []byte("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n" + protocol + "\r\n")
}

// upgraded returns the size of the response's head, 0 if it is not all there, and whether it is a 101.
func upgraded(data []byte) (int, bool) {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, false
	}
	return end + 4, bytes.HasPrefix(data, []byte("HTTP/1.1 101"))
}

func textFrame(text string) []byte { return frame(1, []byte(text)) }

// frame masks with zeros: a client has to mask, and nobody checks with what.
func frame(opcode byte, payload []byte) []byte {
	head := []byte{0x80 | opcode, 0x80 | byte(len(payload))}
	if len(payload) > 125 {
		head = binary.BigEndian.AppendUint16([]byte{0x80 | opcode, 0x80 | 126}, uint16(len(payload)))
	}
	return append(append(head, 0, 0, 0, 0), payload...)
}

func closeReason(payload []byte) string {
	if len(payload) < 2 {
		return "none"
	}
	return strconv.Itoa(int(binary.BigEndian.Uint16(payload))) + " " + string(payload[2:])
}
