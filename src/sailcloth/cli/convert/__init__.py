"""`sailctl x convert`: objects of older or other kinds as objects of today's, or as those of the Gateway API.

A module per subject takes documents and gives documents back, in plain data; `steps` has their order. They are pure: must not read
files, ask a cluster or print. What an object of today cannot say is a finding at the document, never dropped in silence, and never
replaced by something that lets more through.
"""
