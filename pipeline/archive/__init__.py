"""Generator of the embedded archives: small catalogues that the STAC source reads as it reads a provider's."""

from pipeline.archive.seasonal import SeasonalArchive, write_seasonal_archive
from pipeline.archive.writer import Archive, write_archive

__all__ = ["Archive", "SeasonalArchive", "write_archive", "write_seasonal_archive"]
