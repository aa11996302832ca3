"""Access to a relay, in one place: who may open a tunnel, and what may pass through.

For the owner of a relay: tokens (``tokens.py``, ``keys.py``), and what they allow
(``grant.py``). For the owner of a tunnel: its policy (``policy.py``,
``basic_auth.py``). For the visitor: where it comes from (``forwarded.py``) and how
often it may (``rate.py``). Decides nothing itself.
"""

from __future__ import annotations

from tunnel.basic_auth import BasicAuth
from tunnel.forwarded import Origin, TrustedProxies, forwarded
from tunnel.grant import ANYTHING, Grant
from tunnel.keys import PublicKey, parse_public_key
from tunnel.networks import Network, parse_networks
from tunnel.policy import Policy, Refusal, make_policy
from tunnel.rate import TokenBucket
from tunnel.tokens import TokenRefused, Verifier, make_token

__all__ = [
    "ANYTHING",
    "BasicAuth",
    "Grant",
    "Network",
    "Origin",
    "Policy",
    "PublicKey",
    "Refusal",
    "TokenBucket",
    "TokenRefused",
    "TrustedProxies",
    "Verifier",
    "forwarded",
    "make_policy",
    "make_token",
    "parse_networks",
    "parse_public_key",
]
