"""Programs in other languages give the samples that Python gives."""
