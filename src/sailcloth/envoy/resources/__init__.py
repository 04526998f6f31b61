"""Builds the basic messages of listeners, filter chains, endpoints and TLS contexts, before features modify them."""
