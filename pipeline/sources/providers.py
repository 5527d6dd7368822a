"""The catalogues known by name: where they are, which collections serve, what their files need to be opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.sources.signing import Signature, TokenSignature, Unsigned

DEFAULT_COLLECTIONS: Mapping[str, str] = {
    "S2L2A": "sentinel-2-l2a",
    "S2L1C": "sentinel-2-l1c",
    "S1": "sentinel-1-rtc",
    "DEM": "cop-dem-glo-30",
}
"""Collection of each product where neither recipe nor provider names one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """What a catalogue does not say of itself."""

    url: str
    """Root document; of a static catalogue it may be an absolute path."""
    collections: Mapping[str, str] = field(default_factory=dict)
    """Where they differ from `DEFAULT_COLLECTIONS`."""
    signature: Signature = field(default_factory=Unsigned)
    options: Mapping[str, str] = field(default_factory=dict)
    """GDAL options that its files need."""
    at_once: int = 256
    """Requests for pixels in flight, over all workers."""
    per_second: float = 1000.0
    """Requests for pixels started a second, over all workers."""


PROVIDERS: Mapping[str, Provider] = {
    "planetary-computer": Provider(
        url="https://planetarycomputer.microsoft.com/api/stac/v1",
        signature=TokenSignature(),
    ),
    "earth-search": Provider(
        url="https://earth-search.aws.element84.com/v1",
        # The elder collection, sentinel-2-l2a, misstates for part of its files whether the offset was applied.
        # Its Sentinel-1 is not geocoded, and refused.
        collections={"S2L2A": "sentinel-2-c1-l2a", "S1": "sentinel-1-grd"},
        # Its elevation lies in a public bucket in Frankfurt, by s3:// reference; the rest is HTTPS.
        options={"AWS_NO_SIGN_REQUEST": "YES", "AWS_REGION": "eu-central-1"},
    ),
    "cdse": Provider(
        url="https://stac.dataspace.copernicus.eu/v1",
        # Its Sentinel-1 is not geocoded, and refused.
        collections={"S1": "sentinel-1-grd", "DEM": "cop-dem-glo-30-dged-cog"},
        # Keys are the user's: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment.
        # Its quota for general users: four connections, 2000 requests a minute.
        at_once=4,
        per_second=30.0,
        options={"AWS_S3_ENDPOINT": "eodata.dataspace.copernicus.eu", "AWS_VIRTUAL_HOSTING": "FALSE"},
    ),
}
"""Every provider that `--source` takes by name."""


def provider_of_url(url: str) -> Provider | None:
    """Return the provider whose API lies at `url`, or None."""
    return next((p for p in PROVIDERS.values() if p.url == url.rstrip("/")), None)
