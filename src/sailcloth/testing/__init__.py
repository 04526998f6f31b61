"""Helpers for tests, shipped to users: a simulator that answers "where would this call go?", and sample meshes."""
