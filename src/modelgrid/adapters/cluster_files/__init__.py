"""What a node keeps of its cluster in files that only the daemon's user can read."""

from modelgrid.adapters.cluster_files.files import ClusterFiles, Membership

__all__ = ["ClusterFiles", "Membership"]
