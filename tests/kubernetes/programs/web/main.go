// A web server on port 8080 that names the pod it runs in.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	name, err := os.Hostname()
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/", func(answer http.ResponseWriter, _ *http.Request) { fmt.Fprintf(answer, "pod %s\n", name) })
	panic(http.ListenAndServe(":8080", nil))
}
