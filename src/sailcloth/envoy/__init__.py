"""Plans turned into Envoy protobuf and bytes.

`resources/` owns shape, `names` owns names, `features/<one per Istio feature>/` owns meaning, `pipeline` holds the order,
`build` joins them to the incremental graph. Nothing here does I/O, and nothing here knows who gets what.
"""
