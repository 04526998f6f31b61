"""The builder of container images."""
