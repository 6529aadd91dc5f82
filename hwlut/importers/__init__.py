"""Parameter files of other projects, read as units: one module a format."""
