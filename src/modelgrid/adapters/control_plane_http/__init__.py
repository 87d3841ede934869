"""A node's way to its control plane: HTTPS, pinned to one certificate."""

from modelgrid.adapters.control_plane_http.joining import JoinAnswer, join, join_introduced
from modelgrid.adapters.control_plane_http.link import HttpControlPlane
from modelgrid.adapters.control_plane_http.pinning import address_in

__all__ = ["HttpControlPlane", "JoinAnswer", "address_in", "join", "join_introduced"]
