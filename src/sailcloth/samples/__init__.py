"""Sample applications and their manifests. Nothing of the mesh may depend on them."""
