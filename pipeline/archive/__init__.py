"""Generator of the embedded archive: a small catalogue that the STAC source reads as it reads a provider's."""

from pipeline.archive.writer import Archive, write_archive

__all__ = ["Archive", "write_archive"]
