"""Which addresses nothing is asked of, whoever names them. Control and the gateways judge what a name has led to by
this, where the connection is made."""

import ipaddress

METADATA_ADDRESSES = frozenset({"fd00:ec2::254", "fd20:ce::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"})
"""Addresses under which clouds give a machine's credentials to whoever asks from it, beside the link-local ones."""


def forbidden_address(address: str) -> bool:
    """Return whether the daemon connects to an IP address on nobody's behalf: link-local ones, where clouds keep the
    machine's credentials, multicast, and the unspecified one. Other text is no address and not forbidden."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_link_local or ip.is_multicast or ip.is_unspecified or str(ip) in METADATA_ADDRESSES


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
