"""What runs a plan: the seam (protocol), the registry, and one folder per backend."""
