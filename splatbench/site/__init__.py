"""The site: all published records as static pages that work without a server."""
