"""What people look at. Views draw records and snapshots; they never read the engine."""
