"""Google Earth Engine as a source: scenes, scores and pixels, computed on its servers and fetched by REST."""

from pipeline.sources.earth_engine.source import NAME, EarthEngineSource, open_earth_engine

__all__ = ["NAME", "EarthEngineSource", "open_earth_engine"]
