"""Looking back at a run: why it ordered what it did, and how it stood at any moment. All of it by replay."""
