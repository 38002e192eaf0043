// Goroutines for `squall-bench kinds`: switching, creating and keeping them, on one core.
// Arguments: the row and how many times. Prints one figure: nanoseconds of CPU time, or resident bytes, for each.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

func cpu() int64 {
	var usage syscall.Rusage
	syscall.Getrusage(0, &usage)
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func resident() float64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	pages, err := strconv.ParseFloat(strings.Split(string(statm), " ")[1], 64)
	if err != nil {
		panic(err)
	}
	return pages * float64(os.Getpagesize())
}

func takeTurns(goroutines, times int) float64 {
	var done sync.WaitGroup
	done.Add(goroutines)
	began := cpu()
	for i := 0; i < goroutines; i++ {
		go func() {
			for n := 0; n < times; n++ {
				runtime.Gosched()
			}
			done.Done()
		}()
	}
	done.Wait()
	return float64(cpu()-began) / float64(goroutines*times)
}

func create(times int) float64 {
	answers := make(chan int)
	began := cpu()
	for n := 0; n < times; n++ {
		go func(n int) { answers <- n }(n)
		if <-answers != n {
			panic("another one's answer")
		}
	}
	return float64(cpu()-began) / float64(times)
}

func keep(goroutines int) float64 {
	forever := make(chan int)
	started := make(chan int)
	spawn := func(times int) {
		for i := 0; i < times; i++ {
			go func() {
				started <- 1
				<-forever
			}()
		}
		for i := 0; i < times; i++ {
			<-started
		}
	}
	spawn(100)
	before := resident()
	spawn(goroutines)
	return (resident() - before) / float64(goroutines)
}

func main() {
	runtime.GOMAXPROCS(1)
	times, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	switch os.Args[1] {
	case "switch-1":
		fmt.Println(takeTurns(1, times))
	case "switch-1000":
		fmt.Println(takeTurns(1000, times))
	case "create":
		fmt.Println(create(times))
	case "keep":
		fmt.Println(keep(times))
	}
}
