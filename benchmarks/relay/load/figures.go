package main

import (
	"bytes"
	"sort"
	"syscall"
	"time"
	"unsafe"
)

// figures are what all connections saw since reset.
type figures struct {
	began     time.Time
	cpuBegan  float64
	frames    int64
	bytes     int64
	events    int64
	merged    int64 // events that others replaced, as the relay says
	snaps     int64
	resets    int64
	gaps      int64 // what came does not follow what was there, and nothing said so
	backwards int64
	latencies []uint32 // microseconds from the publisher to here
	failures  map[string]int
}

func (f *figures) reset() {
	*f = figures{began: time.Now(), cpuBegan: cpuSeconds(), latencies: f.latencies[:0], failures: map[string]int{}}
}

// told notes how old an event is that carries the time it was made at.
func (f *figures) told(text []byte, now int64) {
	if i := bytes.Index(text, messageMark); i >= 0 {
		made := int64(number(text[i+len(messageMark):]))
		f.latencies = append(f.latencies, uint32(max((now-made)/1000, 0)))
	}
}

func (f *figures) failed(why string) { f.failures[why]++ }

func (f *figures) report() map[string]any {
	seconds := time.Since(f.began).Seconds()
	sort.Slice(f.latencies, func(a, b int) bool { return f.latencies[a] < f.latencies[b] })
	at := func(share float64) float64 {
		if len(f.latencies) == 0 {
			return 0
		}
		return float64(f.latencies[min(int(share*float64(len(f.latencies))), len(f.latencies)-1)]) / 1000
	}
	return map[string]any{
		"seconds": seconds, "cpu": cpuSeconds() - f.cpuBegan,
		"frames": f.frames, "bytes": f.bytes, "events": f.events, "merged": f.merged, "snaps": f.snaps,
		"resets": f.resets, "gaps": f.gaps, "backwards": f.backwards, "failures": f.failures,
		"timed": len(f.latencies), "p50_ms": at(0.50), "p95_ms": at(0.95), "p99_ms": at(0.99), "max_ms": at(1),
	}
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	of := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return of(usage.Utime) + of(usage.Stime)
}

const clockMonotonic = 1

func monotonic() int64 {
	var now syscall.Timespec
	_, _, _ = syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&now)), 0)
	return now.Nano()
}
