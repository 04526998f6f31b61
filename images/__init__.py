"""Container images of the mesh, built without a container engine."""
