"""The certificate authority: signs workload certificates for verified identities.

Names in a certificate come from the verified identity, never from the request.
"""
