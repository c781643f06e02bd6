package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	blastClients = 1000
	blastText    = `{"t":"ev","id":1,"task":"00000000-0000-7000-8000-000000000000","at":[1,1],"prev":[1,1],"kind":"progress",` +
		`"data":{"progress":{"done":1,"total":100,"unit":null,"message":"@%d","rate":1.0,"eta":1.0},"epoch":1}}`
)

// serveBlast sends every one of a thousand clients the same event, again and again, as fast as the system takes it.
func serveBlast(address string) error {
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		return err
	}
	base, zero := monotonic(), time.Now()
	var clients []net.Conn
	for len(clients) < blastClients {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		if err := greet(conn); err != nil {
			return err
		}
		clients = append(clients, conn)
	}
	for {
		text := fmt.Sprintf(blastText, base+int64(time.Since(zero)))
		data := append(binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(len(text))), text...)
		for _, conn := range clients {
			if _, err := conn.Write(data); err != nil {
				return err
			}
		}
	}
}

func greet(conn net.Conn) error {
	reader := bufio.NewReader(conn)
	request, err := http.ReadRequest(reader)
	if err != nil {
		return err
	}
	hash := sha1.Sum([]byte(request.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(hash[:]))
	if err != nil {
		return err
	}
	snap := `{"t":"snap","id":1,"at":[1,1],"task":{}}`
	_, err = conn.Write(append([]byte{0x81, byte(len(snap))}, snap...))
	return err
}
