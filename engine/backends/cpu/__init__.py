"""NumPy kernels, one file per operator family; FAMILIES lists them."""

from engine.backends.cpu import unary

FAMILIES = (unary,)
