// Command load opens many WebSockets to a relay, reads what comes as cheaply as it can, and says what it saw.
//
// One thread, one epoll, one read buffer: at 2 cores in all, whatever this takes is missing elsewhere. It is told what to
// do by lines on its input and answers each with a line of JSON; see commands in client.go. With -blast it is the other
// end instead: a sender that does nothing but send, to measure what this program alone can take.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
)

func main() {
	address := flag.String("address", "", "HOST:PORT of the relay, an IPv4 address")
	path := flag.String("path", "/v1/stream", "path of the URL; {task} stands for the task's id")
	dialect := flag.String("dialect", "milepost", "milepost, or plain: every message is an event, the task is in the path")
	token := flag.String("token", "", "for hello")
	tasks := flag.String("tasks", "", "file with the ids of tasks, one a line; connection n watches the n-th, round and round")
	blast := flag.String("blast", "", "HOST:PORT to listen on as a sender that sends as fast as it can")
	flag.Parse()
	debug.SetGCPercent(400)
	if *blast != "" {
		fail(serveBlast(*blast))
	}
	ids, err := readLines(*tasks)
	fail(err)
	client, err := newClient(*address, *path, *dialect, *token, ids)
	fail(err)
	commands := make(chan string)
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			commands <- in.Text()
		}
		close(commands)
	}()
	out := json.NewEncoder(os.Stdout)
	fail(client.run(commands, func(answer any) { fail(out.Encode(answer)) }))
}

func readLines(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	return strings.Fields(string(text)), err
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}
