"""What a catalogue may refer to: a document names only what is at least as public as itself.

What comes from a server names nothing on this machine. Its other documents lie on the same host, or whoever controls
one page would choose what else is fetched from inside a network; its files may lie anywhere public, as real providers
have them. A catalogue on disk is its user's own and may name both.
"""

import ipaddress
from urllib.parse import urlsplit

from pipeline.errors import SourceError

_REMOTE = ("http", "https", "s3", "gs", "az")
_LOCAL = ("", "file")


def require_document(href: str, owner: str) -> str:
    """Return `href` if the document at `owner` may link to a document there; raises SourceError."""
    if not is_web(owner):
        return _known(href, owner)
    if not is_web(href) or host_of(href) != host_of(owner):
        raise SourceError(
            f"{_named(owner)} links to {_named(href)}, which is not on its own host: not followed; "
            "name that catalogue itself as --source"
        )
    return href


def require_asset(href: str, owner: str) -> str:
    """Return `href` if the item at `owner` may name a file there.

    Parameters
    ----------
    href
        Absolute path or URL.
    owner
        Path or URL that the item was read from; empty for an item that the caller made.

    Raises
    ------
    SourceError
        It may not, or `href` is nothing that names a file.
    """
    _known(href, owner)
    if is_web(owner) and urlsplit(href).scheme in _LOCAL:
        raise SourceError(f"{_named(owner)} names the local file {href}: not followed")
    if is_web(owner) and is_inside(host_of(href)) and host_of(href) != host_of(owner):
        raise SourceError(f"{_named(owner)} names {_named(href)}, which is inside a private network: not followed")
    return href


def _known(href: str, owner: str) -> str:
    try:
        parts = urlsplit(href)
        scheme, host = parts[:2]
    except ValueError as err:
        raise SourceError(f"{_named(owner)} names {_named(href)}, which is no address") from err
    if scheme in _REMOTE and not host:
        raise SourceError(f"{_named(owner)} names {_named(href)}, which is no address")
    if scheme in _REMOTE and "@" in host:
        raise SourceError(f"{_named(owner)} names {parts.hostname} with a user's name in front: not followed")
    # GDAL takes a path below /vsi for any other place, and XML for a raster with code in it.
    if scheme not in (*_REMOTE, *_LOCAL) or href.startswith(("/vsi", "<")) or "\0" in href:
        raise SourceError(f"{_named(owner)} names {_named(href)}, which is neither a path nor {', '.join(_REMOTE)}")
    return href


def is_web(href: str) -> bool:
    """Tell whether an address is one of HTTP or HTTPS."""
    return href.lower().startswith(("http://", "https://"))


def host_of(href: str) -> str:
    """Return the host of an address; raises SourceError when it is none."""
    try:
        return (urlsplit(href).hostname or "").rstrip(".")
    except ValueError as err:
        raise SourceError(f"{_named(href)} is no address") from err


def is_inside(host: str) -> bool:
    """Tell whether a host is named by an address inside a private network, or is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        return False


def _named(href: str) -> str:
    """Return an address as errors show it: without what may be secret, and not longer than a line."""
    return href.partition("?")[0][:200] or "an item"
