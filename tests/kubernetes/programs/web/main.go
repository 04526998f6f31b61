// A web server on port 8080 that names the pod it runs in; with a URL as its argument, a client that prints status and body.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		fetch(os.Args[1])
		return
	}
	name, err := os.Hostname()
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprintf(answer, "pod %s\n", name) })
	panic(http.ListenAndServe(":8080", nil))
}

func fetch(url string) {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d %s", answer.StatusCode, body)
}
