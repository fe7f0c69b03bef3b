"""FullSubNet+ in torch, for export and training alike: config (no torch), norms, attention, sequence, fullsubnet_plus."""
