// Informers of every kind that the API server lists and watches, by client-go. On a line of standard input it prints, as one line
// of JSON, what its caches hold: resource -> "namespace/name" -> resourceVersion. It must not ask the server for that.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "file")
	protobuf := flag.Bool("protobuf", false, "typed informers by protobuf, instead of dynamic ones by JSON")
	flag.Parse()
	if err := run(*kubeconfig, *protobuf); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(kubeconfig string, protobuf bool) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 200, 400
	finder, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	kinds, err := watchable(finder)
	if err != nil {
		return err
	}
	caches := map[string]cache.SharedIndexInformer{}
	if protobuf {
		config.ContentType = "application/vnd.kubernetes.protobuf"
		config.AcceptContentTypes = "application/vnd.kubernetes.protobuf"
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		factory := informers.NewSharedInformerFactory(client, 0)
		for _, kind := range kinds {
			if informer, err := factory.ForResource(kind); err == nil { // custom kinds have no types here
				caches[name(kind)] = informer.Informer()
			}
		}
	} else {
		client, err := dynamic.NewForConfig(config)
		if err != nil {
			return err
		}
		factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, corev1.NamespaceAll, nil)
		for _, kind := range kinds {
			caches[name(kind)] = factory.ForResource(kind).Informer()
		}
	}
	return serve(caches)
}

func serve(caches map[string]cache.SharedIndexInformer) error {
	stop := make(chan struct{})
	for _, informer := range caches {
		go informer.Run(stop)
	}
	deadline, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for resource, informer := range caches {
		if !cache.WaitForCacheSync(deadline.Done(), informer.HasSynced) {
			return fmt.Errorf("the informer of %s has not synced", resource)
		}
	}
	fmt.Println(len(caches))
	lines, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for lines.Scan() {
		held := map[string]map[string]string{}
		for resource, informer := range caches {
			objects := map[string]string{}
			for _, object := range informer.GetStore().List() {
				accessor, err := meta.Accessor(object)
				if err != nil {
					return err
				}
				objects[accessor.GetNamespace()+"/"+accessor.GetName()] = accessor.GetResourceVersion()
			}
			held[resource] = objects
		}
		if err := out.Encode(held); err != nil {
			return err
		}
	}
	return nil
}

// watchable returns every resource that can be listed and watched, in each version.
func watchable(finder *discovery.DiscoveryClient) ([]schema.GroupVersionResource, error) {
	_, lists, err := finder.ServerGroupsAndResources()
	if err != nil {
		return nil, err
	}
	var found []schema.GroupVersionResource
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range list.APIResources {
			verbs := strings.Join(resource.Verbs, " ")
			if strings.Contains(verbs, "list") && strings.Contains(verbs, "watch") && !strings.Contains(resource.Name, "/") {
				found = append(found, version.WithResource(resource.Name))
			}
		}
	}
	return found, nil
}

func name(kind schema.GroupVersionResource) string {
	return strings.Trim(kind.Group+"/"+kind.Version+"/"+kind.Resource, "/")
}
