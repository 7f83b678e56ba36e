"""Graph passes before Inductor: operations are replaced by faster equivalents."""
