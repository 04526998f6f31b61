// The CNI plugin istio-cni, which a container runtime runs on a node for each pod (CNI 0.3.1 to 1.1.0). It changes nothing itself: for
// pods of the mesh it asks the DaemonSet by its socket to capture their traffic, and gives the previous plugin's result on.
// It must decide without asking that a pod is not of the mesh: such pods start whether or not the DaemonSet runs.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

const (
	timeout      = 20 * time.Second // for the DaemonSet, which asks the API server
	status       = "sidecar.istio.io/status"
	inject       = "sidecar.istio.io/inject"
	validation   = `"istio-validation"` // the container that the injector adds where this plugin captures
	daemonPrefix = "istio-cni-node-"
)

// Codes of errors, of the CNI specification and, from 100 on, our own.
const (
	wrongVersion = 1
	wrongConfig  = 6
	tryLater     = 11
	refused      = 100
)

var versions = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}

type config struct {
	Version       string                     `json:"cniVersion"`
	Exclude       []string                   `json:"exclude_namespaces"`
	PodNamespace  string                     `json:"pod_namespace"`
	RunDirectory  string                     `json:"cni_agent_run_dir"`
	Previous      map[string]json.RawMessage `json:"prevResult"`
	RuntimeConfig struct {
		Annotations map[string]string `json:"io.kubernetes.cri.pod-annotations"`
	} `json:"runtimeConfig"`
}

type request struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Netns     string `json:"netns"`
}

func main() {
	var conf config
	input, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = json.Unmarshal(input, &conf)
	}
	if err != nil {
		fail("1.0.0", wrongConfig, "the network configuration cannot be read: "+err.Error())
	}
	command := os.Getenv("CNI_COMMAND")
	if command == "VERSION" {
		version := conf.Version
		if version == "" {
			version = versions[len(versions)-1]
		}
		write(map[string]any{"cniVersion": version, "supportedVersions": versions})
		return
	}
	if !slices.Contains(versions, conf.Version) {
		fail("1.0.0", wrongVersion, fmt.Sprintf("cniVersion %q is not known; use one of %s", conf.Version, strings.Join(versions, ", ")))
	}
	if command != "ADD" { // what is captured ends with the network namespace
		return
	}
	pod := request{Netns: os.Getenv("CNI_NETNS")}
	for _, pair := range strings.Split(os.Getenv("CNI_ARGS"), ";") {
		switch name, value, _ := strings.Cut(pair, "="); name {
		case "K8S_POD_NAMESPACE":
			pod.Namespace = value
		case "K8S_POD_NAME":
			pod.Name = value
		case "K8S_POD_UID":
			pod.UID = value
		}
	}
	if wanted(conf, pod) {
		if code, err := capture(conf, pod); err != nil {
			fail(conf.Version, code, fmt.Sprintf("traffic of pod %s/%s is not captured: %v", pod.Namespace, pod.Name, err))
		}
	}
	result := map[string]any{}
	for name, value := range conf.Previous {
		result[name] = value
	}
	result["cniVersion"] = conf.Version
	write(result)
}

// Whether the DaemonSet has to be asked. A runtime that tells no annotations leaves it to the DaemonSet to know the pods of the mesh.
func wanted(conf config, pod request) bool {
	if pod.Name == "" || slices.Contains(conf.Exclude, pod.Namespace) {
		return false
	}
	if pod.Namespace == conf.PodNamespace && strings.HasPrefix(pod.Name, daemonPrefix) {
		return false
	}
	known := conf.RuntimeConfig.Annotations
	return known == nil || strings.Contains(known[status], validation) && known[inject] != "false"
}

func capture(conf config, pod request) (int, error) {
	deadline := time.Now().Add(timeout)
	connection, err := net.DialTimeout("unix", path.Join(conf.RunDirectory, "pluginevent.sock"), timeout)
	if err != nil {
		return tryLater, fmt.Errorf("the DaemonSet istio-cni-node does not answer on this node: %w", err)
	}
	defer connection.Close()
	if err = connection.SetDeadline(deadline); err == nil {
		err = json.NewEncoder(connection).Encode(pod)
	}
	var answer struct {
		Error string `json:"error"`
	}
	if err == nil {
		err = json.NewDecoder(connection).Decode(&answer)
	}
	if err != nil {
		return tryLater, fmt.Errorf("the DaemonSet istio-cni-node did not answer: %w", err)
	}
	if answer.Error != "" {
		return refused, fmt.Errorf("%s", answer.Error)
	}
	return 0, nil
}

func write(document any) {
	if err := json.NewEncoder(os.Stdout).Encode(document); err != nil {
		os.Exit(1)
	}
}

func fail(version string, code int, message string) {
	write(map[string]any{"cniVersion": version, "code": code, "msg": message})
	os.Exit(1)
}
