"""Which version of an asset lies at its reference now: size, entity tag, checksum; a HEAD request, no pixel read."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import obstore
import requests
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, S3Store

from pipeline.errors import SourceError, TransientSourceError
from pipeline.sources.access import Signer, permits_of
from pipeline.sources.governor import AGAIN, AgainError, Governor, pause_of
from pipeline.sources.reaching import InsideError, follow_session, inside_error, open_session
from pipeline.sources.transport import is_url, public_text

if TYPE_CHECKING:
    from obstore.store import S3Config

State = Literal["there", "gone", "opaque"]
"""`opaque`: a reference to no file, as Earth Engine's: its id is all that is known of its version."""

_RETRIES = 5
_FIRST_WAIT_SECONDS = 0.5
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_HEAD_REFUSED = (HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
"""Answers of servers, or to signatures, that know GET only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetIdentity:
    """What a reference led to at one moment; empty where its server does not say."""

    href: str
    """Never signed."""
    state: State = "there"
    size: int | None = None
    """[bytes]"""
    etag: str = ""
    """The server's own name of this version; of two equal ones the bytes are the same."""
    version: str = ""
    """Version id, where the store keeps elder ones."""
    modified: str = ""
    checksum: str = ""
    """`sha256:` and hexadecimal for local files, `md5:` and base64 where a server states it."""


def identify(href: str, source: Signer) -> AssetIdentity:
    """Ask what lies at `href` now, under the source's signature; a local file is read whole for its SHA-256.

    Raises
    ------
    TransientSourceError
        The provider is unreachable, throttles, or refuses now.
    SourceError
        A local file cannot be read.
    """
    if is_url(href):
        return _remote(href, source)
    if href.startswith("s3://"):
        with permits_of(source).hold():
            return _object(href, source.gdal_env())
    if "://" in href or href.startswith("/vsi"):
        return AssetIdentity(href=href, state="opaque")
    return _local(href)


def difference(then: AssetIdentity, now: AssetIdentity) -> str:
    """Say in words how an asset differs from what it was; empty when nothing says that it does."""
    if then.state != now.state:
        return {"gone": "gone", "there": "there again", "opaque": "no file any more"}[now.state]
    if then.size is not None and now.size is not None and then.size != now.size:
        return f"{now.size} bytes, was {then.size}"
    for name in ("checksum", "version", "etag"):
        before, after = getattr(then, name), getattr(now, name)
        if before and after:
            return "" if before == after else f"{name} {after}, was {before}"
    # A date says less than a tag: copies of one file on several servers differ in it.
    if then.modified and now.modified and then.modified != now.modified:
        return f"modified {now.modified}, was {then.modified}"
    return ""


def _local(href: str) -> AssetIdentity:
    try:
        with Path(href).open("rb") as raw:
            digest = hashlib.file_digest(raw, "sha256").hexdigest()
            return AssetIdentity(href=href, size=raw.tell(), checksum=f"sha256:{digest}")
    except (FileNotFoundError, NotADirectoryError):
        return AssetIdentity(href=href, state="gone")
    except OSError as err:
        raise SourceError(f"{href} cannot be read: {err.strerror or err}") from err


def _remote(href: str, source: Signer) -> AssetIdentity:
    name = public_text(href)
    governor = Governor(permits=permits_of(source), attempts=1 + _RETRIES, first_wait=_FIRST_WAIT_SECONDS)
    status, headers = governor.send(partial(_asked, href, source), f"{name} does not answer")
    if status in _GONE:
        return AssetIdentity(href=href, state="gone")
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise TransientSourceError(f"{name} cannot be asked for now: HTTP {status}")
    return _stated(href, headers)


def _asked(href: str, source: Signer) -> tuple[int, Mapping[str, str]]:
    """Return status and headers of one request; raises AgainError where another one may fare better."""
    session, signed = open_session(source), source.sign(href)
    try:
        _, status, headers = follow_session(session.head, href, signed, source)
        if status in _HEAD_REFUSED:
            ask = partial(session.get, stream=True, headers={"Range": "bytes=0-0"})
            _, status, headers = follow_session(ask, href, signed, source)
    except InsideError as err:
        raise inside_error(href, err) from None
    except requests.RequestException as err:
        # The error itself names the signed URL.
        raise AgainError(type(err).__name__) from None
    if status in AGAIN:
        raise AgainError(f"HTTP {status}", pause=pause_of(status, headers.get("Retry-After")))
    return status, headers


def _stated(href: str, headers: Mapping[str, str]) -> AssetIdentity:
    # After a range the whole size stands behind the slash; the length is the range's.
    size = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    md5 = headers.get("Content-MD5", "") if "Content-Range" not in headers else ""
    return AssetIdentity(
        href=href,
        size=int(size) if size.isdecimal() else None,
        etag=headers.get("ETag", ""),
        version=headers.get("x-amz-version-id") or headers.get("x-ms-version-id") or "",
        modified=headers.get("Last-Modified", ""),
        checksum=f"md5:{md5}" if md5 else "",
    )


def _object(href: str, options: Mapping[str, str]) -> AssetIdentity:
    parts = urlsplit(href)
    store = _bucket(parts.netloc, tuple(sorted(options.items())))
    try:
        meta = obstore.head(store, parts.path.lstrip("/"))
    except (FileNotFoundError, NotFoundError):
        return AssetIdentity(href=href, state="gone")
    except (PermissionDeniedError, UnauthenticatedError) as err:
        raise TransientSourceError(f"{href} cannot be asked for now: check the provider's credentials") from err
    except BaseError as err:
        raise TransientSourceError(f"{href} does not answer: {type(err).__name__}") from None
    return AssetIdentity(
        href=href,
        size=meta["size"],
        etag=meta["e_tag"] or "",
        version=meta["version"] or "",
        modified=meta["last_modified"].isoformat(),
    )


@cache
def _bucket(name: str, options: tuple[tuple[str, str], ...]) -> ObjectStore:
    """Return the bucket as GDAL would open it under `options`; what they leave out is in the environment."""
    given = dict(options)
    config: S3Config = {}
    if given.get("AWS_NO_SIGN_REQUEST") == "YES":
        config["skip_signature"] = True
    if "AWS_REGION" in given:
        config["region"] = given["AWS_REGION"]
    if "AWS_S3_ENDPOINT" in given:
        config["endpoint"] = f"https://{given['AWS_S3_ENDPOINT']}"
    if "AWS_VIRTUAL_HOSTING" in given:
        config["virtual_hosted_style_request"] = given["AWS_VIRTUAL_HOSTING"] != "FALSE"
    return S3Store(name, config=config, retry_config={"max_retries": _RETRIES})
