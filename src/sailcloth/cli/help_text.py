"""What `sailctl --help` prints; written by tools/cli_reference.py."""

TEXT = """\
Usage: sailctl [OPTIONS] COMMAND [ARGS]...

  Sailcloth: an Istio-compatible service mesh that runs anywhere.

Options:
  -h, --help  Show this message and exit.

Local cluster:
  up      Start a local cluster with the mesh installed.
  down    Stop the local cluster; the next `up` has the same objects.
  status  Show whether a local cluster runs, and where.
  demo    Start a local cluster with a sample application in the mesh, or put it into a cluster that
          has the mesh (--kubeconfig, --context).
  doctor  Check whether this machine can run a local cluster, and print the remedies.
  export  Export objects as YAML for `kubectl apply -f`, without pods and other objects that
          controllers create.
  check   Check the machine, the cluster and the mesh: versions, certificates, webhooks, proxies, a
          request and its telemetry.
  image   Images of the local cluster: names that stand for commands or root file systems.

Proxies:
  proxy-config  Show the configuration of a proxy.
  proxy-status  Show which proxies are connected and whether they are in sync.
  wait          Wait until objects are applied: every proxy that they concern has acknowledged them.
  ca            The mesh's certificate authority: its state, and a new root.
  x             Commands that istioctl keeps under `x`, and suggested Sidecar objects.
  dashboard     Open the console, or another web page of the mesh, in the browser.

Traffic:
  graph  Show the traffic graph: callers and destinations, with rates, errors and latencies.
  top    Show rates, errors and latencies of all workloads, live.
  logs   Show the logs of pods, application and proxy together, ordered by time.
  tap    Show live requests from the access logs of proxies; of all workloads of the namespace by
         default.

Injection:
  kube-inject  Add the sidecar to every pod and pod template of a manifest; other documents pass
               unchanged.
  tag          Names for revisions of the control plane, by which namespaces choose one.

Configuration:
  analyze   Find mistakes in the mesh's configuration: `sailctl analyze -A`, `sailctl analyze --use-
            kube=false -R samples/`.
  validate  Validate Istio's objects in files, without a cluster: `sailctl validate -f bookinfo-
            gateway.yaml`.
  mcp       Serve the mesh to an assistant over the Model Context Protocol, on standard input and
            output.

Commands:
  completion  Print the completion script of a shell: `source <(sailctl completion bash)`.
  version     Show the version of this program; with --remote those of the control plane and of the
              proxies.
  options     List the options that every command has.

Control plane:
  bug-report  Collect versions, statuses, objects, logs and the proxies' configurations into one
              archive, without secrets.
  admin       Look into the control plane, and set how much it logs.

Multicluster:
  create-remote-secret  Print a Secret with a kubeconfig of this cluster, to be applied in another
                        one.
  remote-clusters       List the kube clusters that the control plane reads, and Secrets of others
                        that it does not read yet.

Installation:
  install         Install the mesh in a Kubernetes cluster, or change how it is installed.
  upgrade         Bring an installation to the version of this program.
  uninstall       Remove the mesh from a cluster.
  verify-install  Check that what is installed is there and ready, or that the objects of a manifest
                  are there.
  waypoint        Not there yet: ambient mode is not there yet; workloads join the mesh by a sidecar
                  (label a namespace istio-injection=enabled).
  ztunnel-config  Not there yet: ambient mode is not there yet; workloads join the mesh by a sidecar
                  (label a namespace istio-injection=enabled).
  manifest        The objects of an installation.
  profile         Named choices of components and values.
"""
