"""Programs as C: stand-alone files, and kernels compiled for the processor."""
