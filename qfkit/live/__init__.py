"""The live session: the background runner, the journal, and the session that ties them to the engine."""
