"""The networks of AIR's stages."""
