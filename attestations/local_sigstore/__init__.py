"""A Sigstore of one's own: for tests, for the demo, and for networks that reach no other.

Its keys live in memory and die with the process, so it vouches for nothing but itself; no default ever names it.
"""

from attestations.local_sigstore.trust_domain import GitHubWorkflow, Logging, TrustDomain

__all__ = ["GitHubWorkflow", "Logging", "TrustDomain"]
