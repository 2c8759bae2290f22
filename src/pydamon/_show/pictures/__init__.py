"""Heat maps as files: SVG, PNG, HTML."""
