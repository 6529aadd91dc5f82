"""Random units of every kind through all engines, for as long as one likes: ``./dev soak MINUTES``."""
