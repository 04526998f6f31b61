"""Things with no domain word in them. Nothing here may know of meshes, Envoy or Kubernetes kinds."""
